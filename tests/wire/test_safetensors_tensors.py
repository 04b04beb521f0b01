"""Tensors as safetensors: held against the package `safetensors` in both directions, and stricter than it."""

import json
import struct
from collections.abc import Mapping
from functools import partial
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import safetensors
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from optim_client._tensors import decode

from app.errors import MalformedBody
from app.session import DTYPES
from app.wire.codec import MAX_DIMENSIONS, Limits
from app.wire.codecs import SAFETENSORS
from app.wire.safetensors_tensors import read_file, write_file
from tests.bodies import encode
from tests.service.calls import bits
from tests.wire import package
from tests.wire.steps import ONCE, answer_of

LIMITS = Limits(max_tensors=100, max_name_length=64)
UNSIGNED = {"float64": np.uint64, "float32": np.uint32, "float16": np.uint16, "bfloat16": np.uint16}
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)


def arrays() -> st.SearchStrategy[np.ndarray[Any, Any]]:
    """Any array of any dtype, by its bits."""

    def of(dtype: str) -> st.SearchStrategy[np.ndarray[Any, Any]]:
        shapes = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
        return hnp.arrays(UNSIGNED[dtype], shapes).map(lambda raw: raw.view(DTYPES[dtype]))

    return st.sampled_from(list(DTYPES)).flatmap(of)


def file(header: Any, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(*shape: int, dtype: str = "F32", start: int = 0, end: int = 8) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}


def read(body: bytes) -> dict[str, np.ndarray[Any, Any]]:
    return SAFETENSORS.read_params(body, LIMITS)


def joined(buffers: list[bytes | memoryview]) -> bytes:
    return b"".join(buffers)


@given(st.dictionaries(NAMES, arrays(), max_size=5), st.dictionaries(NAMES, NAMES, max_size=3))
def test_what_we_write_the_package_reads(tensors: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
    named = {f"params/{name}": array for name, array in tensors.items()}
    body = joined(write_file(metadata, named.items()))
    assert bits(package.load(body)) == bits(named)
    header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
    assert header.get("__metadata__", {}) == metadata
    assert int.from_bytes(body[:8], "little") % 8 == 0


@given(st.dictionaries(NAMES, arrays(), max_size=5), st.none() | st.dictionaries(NAMES, NAMES, min_size=1, max_size=3))
def test_what_the_package_writes_we_read(tensors: Mapping[str, Any], metadata: Mapping[str, str] | None) -> None:
    body = package.save({f"params/{name}": array for name, array in tensors.items()}, metadata)
    found, sections = read_file(body, ("params",), LIMITS)
    assert bits(sections["params"]) == bits(tensors)
    assert found == (metadata or {})


@given(st.dictionaries(NAMES, arrays(), max_size=5))
def test_the_client_and_the_service_read_each_other(tensors: Mapping[str, Any]) -> None:
    body = encode({"params": tensors}, {"step": "1"})
    assert bits(read(body)) == bits(tensors)
    assert bits(decode(joined(SAFETENSORS.write_params(read(body))), "params")[0]) == bits(tensors)


@pytest.mark.parametrize("view", ["transposed", "strided", "reversed", "broadcast"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_non_contiguous_array_is_written_in_c_order(view: str, dtype: str) -> None:
    base = np.arange(12).reshape(3, 4).astype(DTYPES[dtype])
    views = {"transposed": base.T, "strided": base[:, ::2], "reversed": base[::-1]}
    array = {**views, "broadcast": np.broadcast_to(base[0], (2, 4))}[view]
    assert bits(package.load(joined(SAFETENSORS.write_params({"w": array})))) == bits({"params/w": array})


def test_tensors_that_lie_askew_in_the_body_are_read_whole() -> None:
    tensors = {"params/a": np.float16([1]), "params/b": np.float64([2]), "params/c": np.float32([3])}
    header, at = {}, 0
    for name, array in tensors.items():
        code = f"F{8 * array.itemsize}"
        header[name] = entry(1, dtype=code, start=at, end=at + array.nbytes)
        at += array.nbytes
    body = file(header, b"".join(array.tobytes() for array in tensors.values()))
    found = read(body)
    assert bits({f"params/{name}": array for name, array in found.items()}) == bits(tensors)
    assert all(array.flags.aligned for array in found.values())


def test_reading_and_writing_copy_no_large_array() -> None:
    body = encode({"params": {"w": np.arange(20_000.0)}}, {})
    w = read(body)["w"]
    assert np.shares_memory(w, np.frombuffer(body, np.uint8))
    (_, buffer) = SAFETENSORS.write_params({"w": w})
    assert np.shares_memory(np.frombuffer(buffer, np.uint8), w)


def test_an_answer_tells_the_outcome_of_the_step() -> None:
    metrics = {"lr": 0.1, "grad_norm": "NaN"}
    answer = answer_of({"w": np.float32([1])}, step=3, skipped=True, metrics=metrics, warnings=["a: b"])
    params, metadata = decode(joined(SAFETENSORS.write_answer(answer, {})), "params")
    assert metadata.pop("warnings") == '["a: b"]'
    assert metadata.pop("metrics") == '{"lr":0.1,"grad_norm":"NaN"}'
    assert metadata == {"step": "3", "skipped": "true", "digest": "d", "params_digest": "p"}
    assert bits(params) == bits({"w": np.float32([1])})


P = "params/w"
DATA = bytes(8)
REFUSED: dict[str, bytes] = {
    "nothing": b"",
    "less than a length": b"\2\0\0\0\0\0\0",
    "a length and no header": struct.pack("<Q", 2),
    "a length beyond the body": struct.pack("<Q", 3) + b"{}",
    "a length beyond all memory": struct.pack("<Q", 2**63) + b"{}",
    "a header of no length": struct.pack("<Q", 0) + b"{}",
    "a header that is no json": file(b"{,}"),
    "a header that is no utf-8": file(b'{"\xff": 1}'),
    "a header that is a list": file([]),
    "a header with a lone surrogate": file(b'{"params/\\ud800": {}}'),
    "a header too deep": file(b'{"params/w": ' + b"[" * 5000 + b"]" * 5000 + b"}"),
    "metadata that is a list": file({"__metadata__": []}),
    "metadata that is null": file({"__metadata__": None}),
    "metadata of numbers": file({"__metadata__": {"step": 1}}),
    "an entry that is a list": file({P: []}, DATA),
    "an entry that is null": file({P: None}, DATA),
    "an entry without a dtype": file({P: {"shape": [2], "data_offsets": [0, 8]}}, DATA),
    "an entry without a shape": file({P: {"dtype": "F32", "data_offsets": [0, 8]}}, DATA),
    "an entry without offsets": file({P: {"dtype": "F32", "shape": [2]}}, DATA),
    "an entry with more": file({P: entry(2) | {"order": "C"}}, DATA),
    "a dtype that we lack": file({P: entry(8, dtype="I8")}, DATA),
    "a dtype in another case": file({P: entry(2, dtype="f32")}, DATA),
    "a dtype that is no text": file({P: entry(2) | {"dtype": ["F32"]}}, DATA),
    "a shape that is too large": file({P: entry(3)}, DATA),
    "a shape that is too small": file({P: entry(1)}, DATA),
    "a negative shape": file({P: entry(-2)}, DATA),
    "two negative sizes": file({P: entry(-1, -2)}, DATA),
    "a shape of fractions": file({P: entry() | {"shape": [2.0]}}, DATA),
    "a shape of truths": file({P: entry() | {"shape": [True, 2]}}, DATA),
    "a shape that is a number": file({P: entry() | {"shape": 2}}, DATA),
    "too many sizes": file({P: entry(*[1] * 32, 2)}, DATA),
    "sizes that overflow to what is there": file({P: entry(2**62, 2**2, 2)}, DATA),
    "no element, but a size beyond all memory": file({P: entry(0, 10**18, end=0)}),
    "offsets that are one": file({P: entry(2) | {"data_offsets": [0]}}, DATA),
    "offsets that are three": file({P: entry(2) | {"data_offsets": [0, 8, 8]}}, DATA),
    "offsets that are text": file({P: entry(2) | {"data_offsets": ["0", "8"]}}, DATA),
    "offsets that are fractions": file({P: entry(2) | {"data_offsets": [0.0, 8.0]}}, DATA),
    "offsets beyond 64 bits": file({P: entry(2, end=2**70)}, DATA),
    "offsets the wrong way round": file({P: entry(2, start=8, end=0)}, DATA),
    "offsets below zero": file({P: entry(2, start=-8, end=0)}, DATA),
    "offsets beyond the body": file({P: entry(2, start=8, end=16)}, DATA),
    "a hole at the start": file({P: entry(1, start=4, end=8)}, DATA),
    "a hole between": file({P: entry(1, end=4), "params/v": entry(1, start=8, end=12)}, bytes(12)),
    "bytes after the last": file({P: entry(1, end=4)}, DATA),
    "bytes and no tensor": file({}, DATA),
    "an overlap": file({P: entry(2), "params/v": entry(1, start=4, end=8)}, DATA),
    "one place for two": file({P: entry(2), "params/v": entry(2)}, DATA),
    "two tensors of one name": file(
        b'{"params/w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, '
        b'"params/w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
        DATA,
    ),
    "a body cut short": file({P: entry(2)}, DATA[:-1]),
    "a name of no section": file({"w": entry(2)}, DATA),
    "a name of another section": file({"state/w": entry(2)}, DATA),
    "a name that is a section": file({"params": entry(2)}, DATA),
    "no name": file({"params/": entry(2)}, DATA),
    "a name too long": file({"params/" + "w" * 65: entry(2)}, DATA),
    "a name far too long": file({"w" * 100_000: entry(2)}, DATA),
    "too many tensors": file({f"params/{i}": entry(0, end=0) for i in range(101)}),
}


@pytest.mark.parametrize("wrong", REFUSED)
def test_a_body_that_is_not_what_it_says_is_refused(wrong: str) -> None:
    for reader in (SAFETENSORS.read_params, partial(SAFETENSORS.read_step, once=ONCE)):
        with pytest.raises(MalformedBody) as raised:
            reader(REFUSED[wrong], LIMITS)
        assert len(str(raised.value.problem())) < 500


NO_JSON = "; if this is JSON, send `Content-Type: application/json`"
TOLD: dict[str, tuple[bytes, str]] = {
    "JSON": (
        b'{"step": 1, "grads": {"w": [1]}}',
        f"the header claims 4189034184455692923 bytes, the body has 24 after its length{NO_JSON}",
    ),
    "JSON after blanks": (
        b'\n {"step": 1}   ',
        f"the header claims 8099007542744260618 bytes, the body has 8 after its length{NO_JSON}",
    ),
    "short JSON": (b"{}", f"2 bytes are too few for a safetensors body{NO_JSON}"),
    "too little": (b"123", "3 bytes are too few for a safetensors body"),
    "a list": (
        file({P: []}, DATA),
        "tensor 'params/w' must be an object with dtype, shape and data_offsets, not a list",
    ),
    "no dtype and shape": (file({P: {"data_offsets": [0, 8]}}, DATA), "tensor 'params/w' needs dtype and shape"),
    "more": (
        file({P: entry(2) | {"order": "C"}}, DATA),
        "tensor 'params/w' has the unknown member 'order'; expected dtype, shape and data_offsets",
    ),
    "another dtype": (
        file({P: entry(8, dtype="I8")}, DATA),
        "tensor 'params/w' has the dtype 'I8': convert it to float32; expected one of F64, F32, F16, BF16",
    ),
    "a fraction of a step": (
        file({"__metadata__": {"step": "1.0"}}),
        "__metadata__ 'step' must be a whole number, not '1.0'",
    ),
    "an lr in words": (file({"__metadata__": {"lr": "high"}}), "__metadata__ 'lr' must be a number, not 'high'"),
    "an infinite lr": (
        file({"__metadata__": {"lr": "inf"}}),
        "`lr` must be a finite number of at least 0, not Infinity",
    ),
}


@pytest.mark.parametrize("wrong", TOLD)
def test_a_refusal_says_what_is_wrong_and_the_way_out(wrong: str) -> None:
    body, told = TOLD[wrong]
    with pytest.raises(MalformedBody) as raised:
        SAFETENSORS.read_step(body, LIMITS, ONCE)
    assert raised.value.detail == told


def test_empty_tensors_take_no_room_wherever_they_are() -> None:
    header = {"params/a": entry(0, end=0), P: entry(2), "params/b": entry(2, 0, start=8), "params/c": entry(0, start=8)}
    assert {name: array.shape for name, array in read(file(header, DATA)).items()} == {
        "a": (0,), "w": (2,), "b": (2, 0), "c": (0,),
    }  # fmt: skip


def test_the_order_of_the_header_does_not_matter() -> None:
    header = {"params/b": entry(1, start=4, end=8), "params/a": entry(1, end=4)}
    found = read(file(header, np.float32([1, 2]).tobytes()))
    assert (found["a"].tolist(), found["b"].tolist()) == ([1.0], [2.0])


def test_a_name_is_all_that_is_after_the_first_slash() -> None:
    assert read(file({"params/encoder/0/w": entry(2)}, DATA)).keys() == {"encoder/0/w"}


def read_or_refuse(body: bytes) -> None:
    """Nothing else may happen; and what we take, the package takes, with the same content."""
    try:
        step = SAFETENSORS.read_step(body, LIMITS, ONCE)
    except MalformedBody:
        return
    for array in (*step.grads.values(), *step.params.values()):
        assert array.dtype in DTYPES.values()
        assert array.ndim <= MAX_DIMENSIONS
    tensors = {f"grads/{name}": a for name, a in step.grads.items()} | {
        f"params/{n}": a for n, a in step.params.items()
    }
    assert bits(package.load(body)) == bits(tensors)


VALID = encode(
    {
        "params": {"w": np.ones((2, 3), np.float32), "b": np.ones(2), "h": np.ones(1, ml_dtypes.bfloat16)},
        "grads": {"w": np.ones((2, 3), np.float32), "b": np.ones(2), "h": np.ones(1, ml_dtypes.bfloat16)},
    },
    {"step": "1", "lr": "0.1", "loss": "nan"},
)
HEADER_END = 8 + int.from_bytes(VALID[:8], "little")


@given(st.data())
def test_a_step_with_changed_bytes_is_taken_or_refused(data: st.DataObject) -> None:
    body = bytearray(VALID)
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, HEADER_END - 1) | st.integers(0, len(VALID) - 1))
        body[at] = data.draw(st.integers(0, 255) | st.sampled_from(b'0123456789,[]{}":'))
    cut = data.draw(st.none() | st.integers(0, len(body)))
    read_or_refuse(bytes(body[:cut]))


HEADER_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**64), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["F32", "F64", "F16", "BF16", "I8", ""]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ENTRIES = (
    st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "F64", "F16", "BF16"]) | HEADER_VALUES,
            "shape": st.lists(st.integers(0, 3), max_size=3) | HEADER_VALUES,
            "data_offsets": st.tuples(st.integers(0, 24), st.integers(0, 24)) | HEADER_VALUES,
        }
    )
    | HEADER_VALUES
)
SECTIONED = st.tuples(st.sampled_from(["params/", "grads/", "", "m/"]), st.text(max_size=4)).map("".join)


@given(st.dictionaries(SECTIONED | st.just("__metadata__"), ENTRIES, max_size=4), st.binary(max_size=32))
@example({"grads/w": entry(2), "params/w": entry(2, start=8, end=16)}, bytes(16))
def test_any_header_is_a_step_or_is_refused(header: Any, data: bytes) -> None:
    read_or_refuse(file(json.dumps(header).encode("utf-8", "surrogatepass"), data))


@given(st.integers(0, 2**64 - 1) | st.integers(0, 40), st.binary(max_size=40))
def test_any_bytes_are_a_step_or_are_refused(length: int, rest: bytes) -> None:
    read_or_refuse(struct.pack("<Q", length) + rest)


@pytest.mark.parametrize("wrong", ["too many tensors", "no element, but a size beyond all memory"])
def test_the_package_takes_bodies_that_we_refuse(wrong: str) -> None:
    assert safetensors.deserialize(REFUSED[wrong])
