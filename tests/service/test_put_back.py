"""Whatever a session may come to, its own state file is taken: into itself, and as a session made of it."""

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
from httpx2 import Client
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import examples
from tests.service.calls import binary_step, create
from tests.service.narrow import own_state_is_taken

NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=6)
POOL = st.sampled_from(["a", "b", "bias", 'q"\\', "\x01\x02\x03\x04\x05\x06", "m/params", "😀:{}"]) | NAMES
NUMPY_DTYPES = [np.float32, np.float64, np.float16, ml_dtypes.bfloat16]
ARRAYS = st.builds(
    np.ones,
    st.lists(st.integers(0, 3), max_size=3).map(tuple),
    st.sampled_from(NUMPY_DTYPES),
)
TENSORS = st.dictionaries(POOL, ARRAYS, min_size=1, max_size=3)
LABELS = st.dictionaries(st.text(max_size=20), st.text(max_size=20), max_size=3)
GROUPS = st.lists(
    st.builds(
        lambda match, lr: {"match": match, "lr": lr},
        st.lists(st.sampled_from(["*", "b*", "?", "[!a]", '*"', "*bias"]), min_size=1, max_size=3),
        st.floats(0, 1),
    ),
    max_size=2,
)
SCHEDULES = st.sampled_from([
    None,
    {"kind": "linear_warmup", "warmup_steps": 3},
    {"kind": "warmup_cosine", "warmup_steps": 1, "total_steps": 3, "min_factor": 0.1, "start_step": 2},
    {"kind": "polynomial", "total_steps": 3, "power": 0.3},
])  # fmt: skip
OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("adamw", {}),
    ("adamw", {"amsgrad": True}),
    ("sgd", {}),
    ("sgd", {"momentum": 0.9}),
    ("rmsprop", {"centered": True, "momentum": 0.5}),
    ("nadam", {}),
    ("adafactor", {}),
    ("lion", {}),
    ("asgd", {"t0": 1}),
    ("rprop", {}),
    ("lars", {"nesterov": True}),
]
SESSIONS = st.fixed_dictionaries(
    {"on_non_finite": st.sampled_from(["reject", "skip"])},
    optional={
        "groups": GROUPS,
        "schedule": SCHEDULES,
        "clip": st.sampled_from([None, {"global_norm": 1e-3}, {"value": 0.5}]),
        "labels": LABELS,
        "ttl_seconds": st.floats(1000, 1e8) | st.integers(1000, 10**8),
    },
)
HELD = st.sampled_from([{}, {"hold_params": True}, {"hold_params": True, "wire_dtype": "bfloat16"}])
Act = Callable[[Client, str], object]


def steps(tensors: dict[str, Any], value: float) -> Act:
    grads = {name: np.full_like(array, value) for name, array in tensors.items()}

    def act(client: Client, session: str) -> object:
        held = client.get(session).json()["hold_params"]
        known = client.get(session).json()["tensors"]
        params = {name: array for name, array in tensors.items() if not (held and name in known)}
        return binary_step(client, session, grads, params)

    return act


def puts(tensors: dict[str, Any]) -> Act:
    body = {name: {"dtype": a.dtype.name, "shape": a.shape, "data": [1.0] * a.size} for name, a in tensors.items()}
    return lambda client, session: client.put(f"{session}/params", json={"params": body})


def patches(changes: dict[str, Any]) -> Act:
    return lambda client, session: client.patch(session, json=changes)


def edits(rename: list[str], remove: int, reset: int) -> Act:
    def act(client: Client, session: str) -> object:
        names = list(client.get(session).json()["tensors"])
        renamed = dict(zip(names, rename, strict=False))
        rest = names[len(renamed) :]
        document = {"rename": renamed, "remove": rest[:remove], "reset": rest[remove : remove + reset]}
        return client.patch(f"{session}/tensors", json=document)

    return act


ACTS = st.one_of(
    st.builds(steps, TENSORS, st.sampled_from([0.0, 1.0, -3e4, np.inf])),
    st.builds(puts, TENSORS),
    st.builds(patches, st.fixed_dictionaries({}, optional={
        "labels": LABELS, "groups": GROUPS, "schedule": SCHEDULES, "hyperparameters": st.just({"lr": 1e-300}),
    })),
    st.builds(edits, st.lists(POOL, max_size=2), st.integers(0, 1), st.integers(0, 1)),
)  # fmt: skip


@examples(quick=15, whole=500)
@given(optimizer=st.sampled_from(OPTIMIZERS), about=SESSIONS, held=HELD, acts=st.lists(ACTS, max_size=6))
def test_any_session_s_own_state_is_taken(
    narrow: Client, optimizer: tuple[str, dict[str, Any]], about: Any, held: Any, acts: list[Act]
) -> None:
    session = create(narrow, optimizer[0], hyperparameters=optimizer[1], **about, **held)
    for act in acts:
        act(narrow, session)
    own_state_is_taken(narrow, session)
    assert narrow.delete(session).status_code == 204
