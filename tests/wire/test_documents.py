"""The session's own JSON and state files against anything that can be sent: taken, or refused in so many words."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.errors import InvalidSession, InvalidState, MalformedBody
from app.session import Session, digest_of, read_document, write_document
from app.store.base import Head, Piece, checksum_of, cut
from app.wire.codec import Limits
from app.wire.session_json import CREATION, read_changes, read_creation, view
from app.wire.state_file import StateFile, write_state
from optim_engine import EngineError, State
from optim_engine import step as engine_step
from tests.wire import package

unhurried = settings(deadline=None)
LIMITS = Limits(max_tensors=10, max_name_length=20)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
    | st.sampled_from([0, 1, 0.5, "adamw", "sgd", "skip", "cosine", "float32", 2**53, 1e300, -1])
)
WORDS = st.sampled_from([
    "lr", "betas", "eps", "momentum", "match", "kind", "total_steps", "warmup_steps", "global_norm", "value", "gamma",
    "shape", "dtype", "step", "w",
])  # fmt: skip
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3), max_leaves=8
)
GROUPS = st.lists(st.dictionaries(WORDS, VALUES | st.just(["*"]), max_size=3), max_size=2)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "optimizer": st.sampled_from(["adamw", "adam", "sgd", "rmsprop"]) | VALUES,
        "hyperparameters": st.dictionaries(WORDS, VALUES, max_size=3) | VALUES,
        "groups": GROUPS | VALUES,
        "schedule": VALUES,
        "clip": VALUES,
        "on_non_finite": st.sampled_from(["reject", "skip"]) | VALUES,
        "hold_params": VALUES,
        "wire_dtype": st.sampled_from(["bfloat16", "float16"]) | VALUES,
        "ttl_seconds": VALUES,
        "labels": st.dictionaries(st.text(max_size=5), st.text(max_size=5) | VALUES, max_size=2) | VALUES,
        "other": VALUES,
    },
)


def session_of(document: Any) -> Session:
    return Session("id", "tenant", created_at=0, updated_at=0, **read_creation(document))


def taken_or_refused(take: Callable[[], Session]) -> Session | None:
    """Return what is taken; a refusal is short, and nothing else may happen."""
    try:
        return take()
    except (InvalidSession, InvalidState, MalformedBody, EngineError) as error:
        refusal = str(error)
    assert len(refusal) < 500
    return None


def assert_kept(session: Session) -> None:
    """The store's document of the session is read as the same session."""
    document = write_document(session)
    assert write_document(read_document(Head("id", "tenant", 1, "t", document))) == document


@unhurried
@given(DOCUMENTS | VALUES)
def test_any_json_makes_a_session_or_is_refused(document: Any) -> None:
    session = taken_or_refused(lambda: session_of(document))
    if session is None:
        return
    shown = orjson.loads(orjson.dumps(view(session)))
    again = session_of({name: shown[name] for name in CREATION})
    assert view(again) == view(session)
    assert_kept(session)


@unhurried
@given(DOCUMENTS | VALUES)
@example({"schedule": {"total_steps": 7}})
@example({"schedule": {"kind": None}})
def test_any_json_changes_a_session_or_is_refused(document: Any) -> None:
    session = session_of({"optimizer": "adamw", "schedule": {"kind": "cosine", "total_steps": 5}, "labels": {"a": "b"}})
    changed = taken_or_refused(lambda: read_changes(document)(session))
    if changed is not None:
        assert_kept(changed)


def trained() -> tuple[Session, State]:
    session = session_of({"optimizer": "adamw", "hold_params": True})
    params = {"w": np.float32([[1, 2]]), "b": np.float64([1])}
    state = engine_step(session.config, State.empty(), params, params).state
    pieces = [Piece("", len(data), checksum_of(data)) for data in cut(state.memory.data)]
    digest = digest_of(session.config, 1, state.layout, state.counts, pieces)
    session = Session(
        "id", "tenant", session.config, 0, 0, step=1, layout=state.layout, counts=state.counts, digest=digest
    )
    return session, state


FILE = b"".join(write_state(*trained()))
HEADER_END = 8 + int.from_bytes(FILE[:8], "little")
DOCUMENT = view(trained()[0]) | {"format": 1}
PATHS = [(key,) for key in DOCUMENT] + [
    ("tensors", "w"),
    *(("tensors", "w", part) for part in ("shape", "dtype", "step")),
]


def take(file: bytes) -> None:
    ours = session_of({"optimizer": "adamw", "hold_params": True})
    taken_or_refused(lambda: StateFile(file, LIMITS).fitted(ours))


def test_the_file_itself_is_taken() -> None:
    session, state = trained()
    taken = StateFile(FILE, LIMITS)
    assert bytes(taken.state.memory.data) == bytes(state.memory.data)
    assert (taken.state.t, taken.state.counts) == (state.t, state.counts)
    taken.fitted(session)


@unhurried
@given(st.data())
def test_a_file_with_changed_bytes_is_refused_in_words(data: st.DataObject) -> None:
    file = bytearray(FILE)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, HEADER_END - 1) | st.integers(0, len(FILE) - 1))
        file[at] = data.draw(st.integers(0, 255) | st.sampled_from(b'0123456789,[]{}":'))
    take(bytes(file[: data.draw(st.none() | st.integers(0, len(file)))]))


@unhurried
@given(st.sampled_from(PATHS), VALUES | DOCUMENTS)
def test_a_file_with_any_session_is_refused_in_words(path: tuple[str, ...], value: Any) -> None:
    document = json.loads(orjson.dumps(DOCUMENT))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    take(package.save(package.load(FILE), {"session": json.dumps(document)}))


@pytest.mark.parametrize("name", ["x" * 21, ""])
def test_names_in_the_list_alone_are_bounded_too(name: str) -> None:
    listed = {name: {"shape": [1], "dtype": "float32", "step": 0}}
    with pytest.raises(MalformedBody):
        StateFile(package.save({}, {"session": orjson.dumps(DOCUMENT | {"tensors": listed}).decode()}), LIMITS)


def test_the_number_of_listed_tensors_is_bounded_too() -> None:
    listed = {str(i): {"shape": [1], "dtype": "float32", "step": 0} for i in range(11)}
    with pytest.raises(MalformedBody):
        StateFile(package.save({}, {"session": orjson.dumps(DOCUMENT | {"tensors": listed}).decode()}), LIMITS)
