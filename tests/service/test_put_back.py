"""Whatever a session may come to, its own state file is taken: into itself, and as a session made of it."""

from collections.abc import Callable, Iterator
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from httpx2 import Client
from hypothesis import given, settings
from hypothesis import strategies as st

from app.room import header_bytes
from app.session import DTYPES
from optim_engine import Entry, Layout, Spec
from tests.service.calls import SAFETENSORS, binary_step, create, path_of, problem, serving, step, stepped
from tests.service.test_made_of_state import made_of
from tests.service.test_state import download, rewritten, session_of, upload

LIMITS: dict[str, Any] = {"max_tensors": 4, "max_name_length": 6, "max_dimensions": 3, "max_body_bytes": 1024}

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


def own_state_is_taken(client: Client, session: str) -> None:
    """Put the session's state into itself, and make a session of it: both are as it was."""
    before, file = client.get(session).json(), download(client, session)
    assert upload(client, session, file).status_code == 204
    assert client.get(session).json()["digest"] == before["digest"]
    answer = made_of(client, file)
    assert answer.status_code == 201, answer.text
    for member in before.keys() - {"id", "created_at", "updated_at", "expires_at", "warnings"}:
        assert answer.json()[member] == before[member], member
    assert client.delete(path_of(answer)).status_code == 204


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


@pytest.fixture(scope="module")
def narrow() -> Iterator[Client]:
    """A service whose limits are soon reached."""
    with serving(**LIMITS) as client:
        yield client


@settings(max_examples=60, deadline=None)
@given(optimizer=st.sampled_from(OPTIMIZERS), about=SESSIONS, held=HELD, acts=st.lists(ACTS, max_size=6))
def test_any_session_s_own_state_is_taken(
    narrow: Client, optimizer: tuple[str, dict[str, Any]], about: Any, held: Any, acts: list[Act]
) -> None:
    session = create(narrow, optimizer[0], hyperparameters=optimizer[1], **about, **held)
    for act in acts:
        act(narrow, session)
    own_state_is_taken(narrow, session)
    assert narrow.delete(session).status_code == 204


def many(count: int, start: int = 0) -> dict[str, Any]:
    return {f"t{i}": [1.0] for i in range(start, start + count)}


class TestTooManyTensors:
    """Of one session, however many requests bring them."""

    WORDS = "with tensor 't4' the session would have 5 tensors, and may have 4"

    def refused(self, answer: Any) -> None:
        problem_document = problem(answer, 422, "tensor_mismatch")
        assert self.WORDS in problem_document["detail"]
        assert "OPTIM_MAX_TENSORS" in problem_document["detail"]
        assert problem_document["tensor"] == "t4"

    @pytest.mark.parametrize("hold", [False, True])
    def test_by_a_step_are_refused_and_change_nothing(self, narrow: Client, hold: bool) -> None:
        session = create(narrow, "sgd", hold_params=hold)
        stepped(narrow, session, params=many(3), grads=many(3))
        stepped(narrow, session, params=many(1, 3), grads=many(1, 3))
        before, history = narrow.get(session).content, narrow.get(f"{session}/history").content
        self.refused(step(narrow, session, params=many(1, 4), grads=many(1, 4)))
        assert narrow.get(session).content == before
        assert narrow.get(f"{session}/history").content == history
        stepped(narrow, session, params={} if hold else many(4), grads=many(4))
        own_state_is_taken(narrow, session)

    @pytest.mark.parametrize("on_non_finite", ["reject", "skip"])
    def test_are_refused_before_the_step_is_computed(self, narrow: Client, on_non_finite: str) -> None:
        session = create(narrow, "sgd", on_non_finite=on_non_finite)
        stepped(narrow, session, params=many(4), grads=many(4))
        one, nan = {"t4": np.ones(1, np.float32)}, {"t4": np.full(1, np.nan, np.float32)}
        self.refused(binary_step(narrow, session, nan, one))
        assert narrow.get(session).json()["skipped_steps"] == 0

    def test_by_a_skipped_step_leave_none_behind(self, narrow: Client) -> None:
        session = create(narrow, "sgd", hold_params=True, on_non_finite="skip")
        for start in range(6):
            bad = {f"t{start}": np.array([np.inf], np.float32)}
            binary_step(narrow, session, bad, {f"t{start}": np.ones(1, np.float32)})
        own_state_is_taken(narrow, session)

    def test_by_put_are_refused(self, narrow: Client) -> None:
        session = create(narrow, hold_params=True)
        for start in range(0, 4, 2):
            assert narrow.put(f"{session}/params", json={"params": many(2, start)}).status_code == 204
        self.refused(narrow.put(f"{session}/params", json={"params": many(1, 4)}))
        assert narrow.put(f"{session}/params", json={"params": many(4)}).status_code == 204
        own_state_is_taken(narrow, session)

    def test_make_room_for_others_where_some_are_removed(self, narrow: Client) -> None:
        session = create(narrow, "sgd")
        stepped(narrow, session, params=many(4), grads=many(4))
        assert narrow.patch(f"{session}/tensors", json={"remove": ["t0"]}).status_code == 200
        stepped(narrow, session, params=many(1, 4), grads=many(1, 4))
        own_state_is_taken(narrow, session)

    def test_that_were_there_before_the_limit_go_on(self, tmp_path: Any) -> None:
        url = f"lmdb:{tmp_path}"
        with serving(store=url) as client:
            session = create(client)
            stepped(client, session, params=many(5), grads=many(5))
        with serving(store=url, max_tensors=4) as client:
            stepped(client, session, params=many(2), grads=many(2))
            assert client.patch(f"{session}/tensors", json={"rename": {"t0": "x"}}).status_code == 200
            problem(step(client, session, params=many(1, 5), grads=many(1, 5)), 422, "tensor_mismatch")


class TestTooLargeStates:
    def test_are_refused_before_they_cannot_be_uploaded_again(self, narrow: Client) -> None:
        session = create(narrow)
        for name in "ab":
            stepped(narrow, session, params={name: [1.0] * 50}, grads={name: [1.0] * 50})
        before = narrow.get(session).content
        refused = problem(
            step(narrow, session, params={"c": [1.0] * 50}, grads={"c": [1.0] * 50}), 422, "tensor_mismatch"
        )
        assert "would have 1200 bytes" in refused["detail"] or "bytes, and could not be uploaded" in refused["detail"]
        assert refused["tensor"] == "c"
        assert narrow.get(session).content == before
        assert len(download(narrow, session)) > LIMITS["max_body_bytes"]
        own_state_is_taken(narrow, session)

    @pytest.mark.parametrize("length", [1025, 5000])
    @pytest.mark.parametrize("create", [False, True])
    def test_that_are_no_state_files_are_too_long(self, narrow: Client, length: int, create: bool) -> None:
        session = path_of(narrow.post("/v1/sessions", json={"optimizer": "sgd"}))
        answer = made_of(narrow, b" " * length) if create else upload(narrow, session, b" " * length)
        assert problem(answer, 413, "body_too_large")["limit"] == 1024


def test_names_that_no_header_could_hold_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.room.HEADER_BYTES", (8 << 20) + 2000)
    with serving() as client:
        session = create(client)
        stepped(client, session, params={"a": [1.0]}, grads={"a": [1.0]})
        long = {"b" * 250: [1.0]}
        assert (
            "shorter names" in problem(step(client, session, params=long, grads=long), 422, "tensor_mismatch")["detail"]
        )
        rename = {"rename": {"a": "\x01" * 250}}
        problem(client.patch(f"{session}/tensors", json=rename), 422, "tensor_mismatch")


def test_a_header_is_no_longer_than_it_is_taken_for() -> None:
    texts = ["\x01" * 256, '"' * 256, "\\" * 256, "😀" * 256, "a"]
    names = {name: np.ones((1,) * 32, np.float64) for name in texts}
    with serving() as client:
        session = create(client, hyperparameters={"amsgrad": True}, hold_params=True)
        binary_step(client, session, names, names).raise_for_status()
        size = int.from_bytes(download(client, session)[:8], "little")
    entry = Entry(Spec((1,) * 32, DTYPES["float64"]), ("m", "v", "v_max", "params"))
    estimate = header_bytes(Layout(dict.fromkeys(names, entry)))
    assert size - 2000 < estimate < 2 * size


def test_counts_beyond_all_counting_are_refused(narrow: Client) -> None:
    session = create(narrow, on_non_finite="skip")
    stepped(narrow, session, params={"a": [1.0]}, grads={"a": [1.0]})

    def far(document: dict[str, Any]) -> None:
        document.update(step=2**53, skipped_steps=2**53, digest=None)

    file = rewritten(download(narrow, session), far)
    headers = {"content-type": SAFETENSORS}
    assert narrow.put(f"{session}/state?digest=none", content=file, headers=headers).status_code == 204
    answer = step(narrow, session, params={"a": [1.0]}, grads={"a": [1.0]})
    assert "are not counted" in problem(answer, 409, "step_conflict")["detail"]
    bad = {"a": np.array([np.nan], np.float32)}
    problem(binary_step(narrow, session, bad, {"a": np.ones(1, np.float32)}), 409, "step_conflict")
    own_state_is_taken(narrow, session)
    assert session_of(download(narrow, session))["step"] == 2**53
