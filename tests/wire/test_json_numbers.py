"""Long lists of numbers: read in parts as they would be read whole, in little more memory than their text takes."""

import json
import tracemalloc
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.errors import MalformedBody
from app.wire import json_numbers
from app.wire.codec import Limits
from app.wire.codecs import JSON
from app.wire.json_numbers import Cut, NumberText, read_numbers
from app.wire.json_text import read_text
from tests.examples import examples
from tests.wire.steps import ONCE

FLOAT64 = np.dtype(np.float64)
LIMITS = Limits(max_tensors=100, max_name_length=8)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
OTHERS = st.none() | st.booleans() | st.text('[]{},:"\\ae', max_size=4)
REGULAR = st.lists(st.integers(0, 3), min_size=1, max_size=4).flatmap(
    lambda shape: st.lists(NUMBERS, min_size=int(np.prod(shape)), max_size=int(np.prod(shape))).map(
        lambda numbers: np.array(numbers, object).reshape(shape).tolist()
    )
)
LISTS = REGULAR | st.lists(st.recursive(NUMBERS | OTHERS, lambda inner: st.lists(inner, max_size=3), max_leaves=12))
NAMES = st.text('ab[]{},:"\\', max_size=4)
SEPARATORS = st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")])
INSERTIONS = [b"", *(bytes([byte]) for byte in b'[],{}:"\\0 1e-.')]
WINDOWS = st.sampled_from([1, 2, 3, 5, 64, 1 << 17])


@pytest.fixture(autouse=True)
def any_list_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_numbers, "SHORTEST", 2)


def read(text: bytes, window: int) -> Any:
    """Read a text that is looked at in windows of that size, lists of numbers as lists. Raises `ValueError`
    and `MalformedBody`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_numbers, "WINDOW", window)
        cut = Cut(memoryview(text))
        return _with_lists(cut.put_back(read_text(cut.rest, "it")))


def _with_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _with_lists(member) for name, member in value.items()}
    return read_numbers(value, FLOAT64).tolist() if isinstance(value, NumberText) else value


def as_floats(value: Any) -> Any:
    """The numbers of lists as they are held."""
    if isinstance(value, dict):
        return {name: as_floats(member) for name, member in value.items()}
    if isinstance(value, list):
        return [as_floats(member) for member in value]
    return float(value) if type(value) is int else value


def is_tensor(value: Any) -> bool:
    """Return whether NumPy and the types of the leaves say so."""
    leaves = [value]
    while any(isinstance(leaf, list) for leaf in leaves):
        leaves = [inner for leaf in leaves for inner in (leaf if isinstance(leaf, list) else [leaf])]
    try:
        np.array(value, np.float64)
    except (ValueError, TypeError):
        return False
    return {int, float}.issuperset(map(type, leaves))


@given(LISTS, SEPARATORS, WINDOWS)
@example([[0], 1, []], (",", ":"), 64)
@example([[]], (",", ":"), 1)
@example([[[]], [[]]], (", ", ": "), 3)
def test_a_list_of_numbers_reads_as_numpy_reads_it(value: Any, separators: tuple[str, str], window: int) -> None:
    text = json.dumps({"w": value}, separators=separators).encode()
    if is_tensor(value):
        found = read(text, window)["w"]
        assert (np.shape(found), found) == (np.shape(np.array(value, np.float64)), as_floats(value))
    else:
        with pytest.raises(ValueError, match=r"."):
            read(text, window)


@given(st.dictionaries(NAMES, LISTS | st.dictionaries(NAMES, REGULAR) | OTHERS), SEPARATORS, WINDOWS)
def test_what_is_cut_out_is_what_stood_there(document: Any, separators: tuple[str, str], window: int) -> None:
    text = json.dumps(document, separators=separators).encode()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_numbers, "WINDOW", window)
        cut = Cut(memoryview(text))
    assert _loaded(cut.put_back(orjson.loads(cut.rest))) == document
    assert cut.depth == _depth(document)


def _loaded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _loaded(member) for name, member in value.items()}
    return orjson.loads(value.text) if isinstance(value, NumberText) else value


def _depth(value: Any) -> int:
    if not isinstance(value, (dict, list)):
        return 0
    return 1 + max(map(_depth, value.values() if isinstance(value, dict) else value), default=0)


@examples(quick=60, whole=2000)
@given(st.dictionaries(NAMES, LISTS, max_size=3), st.data(), WINDOWS)
def test_what_is_no_json_is_not_read(document: Any, data: st.DataObject, window: int) -> None:
    text = bytearray(json.dumps(document).encode())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(len(text) - 1, 0)))
        text[at : at + data.draw(st.integers(0, 1))] = data.draw(
            st.sampled_from([*map(bytes, zip(b'[],{}:"\\0 1e-.')), b""])
        )
    try:
        expected = read_text(bytes(text), "it")
    except MalformedBody:
        with pytest.raises((ValueError, MalformedBody)):
            read(bytes(text), window)
        return
    try:
        found = read(bytes(text), window)
    except ValueError:
        return
    assert as_floats(found) == as_floats(expected)


@pytest.mark.parametrize("unit", ["0,", "0.5,", "[],", "[0],", "[[0]],", "{},", '"",', "null,", '{"":0},', '"\\\\",'])
def test_no_body_takes_many_times_its_memory_to_read(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    body = b'{"params":{"w":[%b]}}' % (unit.encode() * ((4 << 20) // len(unit)))[:-1]
    tracemalloc.start()
    try:
        JSON.read_params(body, LIMITS)
    except MalformedBody:
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 6 * len(body)


def test_a_body_of_many_objects_is_refused_unread() -> None:
    body = b'{"params":{"w":[%b]}}' % (b"{}," * 100_000)[:-1]
    with pytest.raises(MalformedBody, match="has 200006 commas, quotes and brackets, and may have 50000"):
        JSON.read_params(body, LIMITS)


def test_large_tensors_nest_no_deeper_than_they_may() -> None:
    body = b'{"params":{"w":[[[%b]]]}}' % (b"0," * 100_000)[:-1]
    assert JSON.read_params(body, LIMITS)["w"].shape == (1, 1, 100_000)
    with pytest.raises(MalformedBody, match="more than 4 lists and objects in one another"):
        JSON.read_params(body, Limits(100, 8, max_json_depth=4))


@pytest.mark.parametrize("wrong", [b"[0,[0]]", b"[[0],[0,0]]", b"[0,true]", b'["0"]', b"[1e999]", b"[0,,0]", b"[0[]]"])
def test_a_large_malformed_tensor_is_refused_by_name(wrong: bytes) -> None:
    body = b'{"params":{"w":[%b],"x":%b}}' % ((b"0," * 100_000)[:-1], wrong)
    with pytest.raises(MalformedBody) as raised:
        JSON.read_params(body, LIMITS)
    assert raised.value.fields["tensor"] == "params/x"


def test_a_list_for_a_number_or_shape_is_refused() -> None:
    tensor = b"[%b]" % (b"0," * 100_000)[:-1]
    with pytest.raises(MalformedBody, match="`step` must be a whole number from 1 to 9007199254740992, not a list"):
        JSON.read_step(b'{"grads":{"w":%b},"step":%b}' % (tensor, tensor), LIMITS, ONCE)
    with pytest.raises(MalformedBody, match="has the dtype a list: convert it to float32"):
        JSON.read_step(b'{"grads":{"w":{"dtype":%b,"shape":[1],"data":[1]}}}' % tensor, LIMITS, ONCE)
    with pytest.raises(MalformedBody, match="its shape must be"):
        JSON.read_step(b'{"grads":{"w":{"dtype":"float32","shape":%b,"data":[1]}}}' % tensor, LIMITS, ONCE)


def test_a_long_shape_is_read() -> None:
    ones, data = b"1, " * 31, (b"0," * 100_000)[:-1]
    body = b'{"params":{"w":{"dtype":"float32","shape":[%b100000],"data":[%b]}}}' % (ones, data)
    assert JSON.read_params(body, LIMITS)["w"].shape == (1,) * 31 + (100_000,)
