"""State files against anything that can be sent: taken, or refused in so many words."""

import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.digest import digest_of
from app.errors import InvalidState, MalformedBody
from app.session import Session
from app.store.piece import Piece, checksum_of, cut
from app.wire.codec import Limits
from app.wire.session_json import view
from app.wire.state_file import StateFile, write_state
from optim_engine import State
from optim_engine import step as engine_step
from tests.wire import package
from tests.wire.test_session_json import DOCUMENTS, VALUES, session_of, taken_or_refused

LIMITS = Limits(max_tensors=10, max_name_length=20)


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


@given(st.data())
def test_a_file_with_changed_bytes_is_refused_in_words(data: st.DataObject) -> None:
    file = bytearray(FILE)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, HEADER_END - 1) | st.integers(0, len(FILE) - 1))
        file[at] = data.draw(st.integers(0, 255) | st.sampled_from(b'0123456789,[]{}":'))
    take(bytes(file[: data.draw(st.none() | st.integers(0, len(file)))]))


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


@pytest.mark.parametrize("count", [-1, 2])
def test_a_row_with_an_impossible_count_is_refused(count: int) -> None:
    groups = [{"match": ["w"], "sparse": "lazy"}]
    config, params = session_of({"optimizer": "adamw", "hold_params": True, "groups": groups}).config, np.eye(2)
    state = engine_step(config, State.empty(), {"w": params}, {"w": params}).state
    session = Session("id", "tenant", config, 0, 0, step=1, layout=state.layout, counts=state.counts)
    metadata = {"session": orjson.dumps({"format": 1, **view(session), "digest": None}).decode()}
    arrays = {f"{slot}/{tensor}": array for slot, tensor, array in state.arrays()}
    assert StateFile(package.save(arrays, metadata), LIMITS, digest_needed=False).state.t == 1
    state.array("w", "row_steps")[1] = count
    with pytest.raises(InvalidState, match=r"row_steps/w is from -?\d to \d and should be from 0 to 1"):
        StateFile(package.save(arrays, metadata), LIMITS, digest_needed=False)


def test_tensors_that_differ_in_a_shared_number_are_refused() -> None:
    config = session_of({"optimizer": "prodigy", "hold_params": True}).config
    params = {"b": np.eye(2), "w": np.eye(2)}
    state = engine_step(config, State.empty(), params, params).state
    session = Session("id", "tenant", config, 0, 0, step=1, layout=state.layout, counts=state.counts)
    metadata = {"session": orjson.dumps({"format": 1, **view(session), "digest": None}).decode()}
    arrays = {f"{slot}/{tensor}": array for slot, tensor, array in state.arrays()}
    assert StateFile(package.save(arrays, metadata), LIMITS, digest_needed=False).state.t == 1
    state.array("w", "d_max")[...] = 5
    with pytest.raises(
        InvalidState, match=r"d_max/w is 5\.0 and d_max/b is 1e-06: give all tensors of prodigy the same"
    ):
        StateFile(package.save(arrays, metadata), LIMITS, digest_needed=False)
