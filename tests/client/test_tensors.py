"""The codec of arrays, in the cases that NumPy and safetensors get wrong."""

import json
import subprocess
import sys

import ml_dtypes
import numpy as np
import pytest
import safetensors
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from optim_client import _tensors
from optim_client._tensors import decode

from tests.bodies import encode

FLOATS = [np.float64, np.float32, np.float16, ml_dtypes.bfloat16]


def travel(array: object, name: str = "w") -> NDArray[np.generic]:
    arrays, _ = decode(encode({"params": {name: array}}, {}), "params")  # type: ignore[dict-item]
    assert list(arrays) == [name]
    return arrays[name]


def assert_same(got: NDArray[np.generic], expected: NDArray[np.generic]) -> None:
    assert (got.dtype, got.shape) == (expected.dtype.newbyteorder("="), expected.shape)
    assert got.tobytes() == expected.astype(got.dtype).tobytes()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 3), (3, 0, 2), (2, 3), (1, 1, 1, 1)])
def test_every_dtype_and_shape_comes_back(dtype: type, shape: tuple[int, ...]) -> None:
    array = np.arange(np.prod(shape, dtype=int)).astype(dtype).reshape(shape)
    assert_same(travel(array), array)


BASE = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


@pytest.mark.parametrize(
    "array",
    [
        BASE.T,
        BASE[:, ::2],
        BASE[::-1],
        BASE[..., 1],
        BASE[1, 2, 3],
        np.broadcast_to(np.float32(7), (3, 2)),
        np.asfortranarray(BASE),
        BASE.astype(">f4"),
        BASE.T.astype(">f8"),
    ],
    ids=["transposed", "strided", "reversed", "column", "scalar", "broadcast", "fortran", "big-endian", "both"],
)
def test_a_transposed_array_arrives_in_its_shape(array: NDArray[np.generic]) -> None:
    assert_same(travel(array), np.asarray(array))


def test_the_librarys_own_writer_would_have_garbled_a_transposed_array() -> None:
    garbled = safetensors.numpy.load(safetensors.numpy.save({"w": BASE.T}))["w"]
    assert not np.array_equal(garbled, BASE.T)


def test_the_library_reads_our_bytes_with_aligned_tensors() -> None:
    tensors = {"a": np.float16(1), "b": np.float32([[4]]), "c": np.float64([2, 3]), "d": np.zeros((0, 2))}
    body = encode({"params": tensors}, {"step": "1"})
    loaded = safetensors.numpy.load(body)
    assert {name: array.tolist() for name, array in loaded.items()} == {
        f"params/{name}": array.tolist() for name, array in tensors.items()
    }
    start = 8 + int.from_bytes(body[:8], "little")
    header = json.loads(body[8:start])
    widths = {"F64": 8, "F32": 4, "F16": 2}
    header.pop("__metadata__")
    assert start % 8 == 0
    assert all(tensor["data_offsets"][0] % widths[tensor["dtype"]] == 0 for tensor in header.values())


def test_the_librarys_own_writer_would_have_shuffled_the_metadata() -> None:
    metadata = {str(number): "" for number in range(20)}
    assert len({safetensors.numpy.save({"w": BASE}, metadata) for _ in range(20)}) > 1
    assert len({encode({"params": {"w": BASE}}, metadata) for _ in range(20)}) == 1


@given(
    hnp.arrays(
        st.sampled_from([np.float64, np.float32, np.float16]),
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
        elements={"allow_nan": True, "allow_infinity": True, "allow_subnormal": True},
    )
)
def test_every_bit_comes_back(array: NDArray[np.generic]) -> None:
    assert_same(travel(array), array)


@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.just(np.float32(1)), min_size=1))
def test_any_text_is_a_name(tensors: dict[str, np.float32]) -> None:
    arrays, _ = decode(encode({"params": tensors}, {}), "params")
    assert set(arrays) == set(tensors)


@pytest.mark.parametrize("name", ["encoder/0/w", "params/w", "gewicht-ü", "重み", "a b", "", "__metadata__", "grads/"])
def test_awkward_names_come_back(name: str) -> None:
    assert_same(travel(np.float32(1), name), np.asarray(np.float32(1)))


def test_plain_numbers_are_what_numpy_makes_of_them() -> None:
    assert_same(travel([[1.5, 2.5]]), np.array([[1.5, 2.5]]))
    assert_same(travel(0.5), np.array(0.5))


def test_the_result_may_be_written_to() -> None:
    array = travel(np.zeros(3, np.float32))
    array += 1
    assert array.tolist() == [1, 1, 1]


def test_the_arguments_are_left_as_they_were() -> None:
    array = np.asfortranarray(BASE)
    array.flags.writeable = False
    travel(array)
    assert np.array_equal(array, BASE)


def test_kinds_and_metadata_are_kept_apart() -> None:
    body = encode({"params": {"w": 1.0}, "grads": {"w": 2.0, "b": 3.0}}, {"step": "1", "loss": "0.5"})
    params, metadata = decode(body, "params")
    grads, _ = decode(body, "grads")
    assert ({name: float(x) for name, x in params.items()}, sorted(grads)) == ({"w": 1.0}, ["b", "w"])
    assert metadata == {"step": "1", "loss": "0.5"}


@pytest.mark.parametrize("value", [1, [1, 2], np.arange(3), True, "text", 1j, None, [None]])
def test_an_unknown_dtype_is_refused_by_name(value: object) -> None:
    with pytest.raises(TypeError, match=r"grads\['layer.w'\] has (unknown dtype|dtype object).*float32"):
        encode({"grads": {"layer.w": value}}, {})  # type: ignore[dict-item]


def test_a_ragged_list_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match=r"params\['w'\] cannot be converted to a NumPy array"):
        encode({"params": {"w": [[1.0], [1.0, 2.0]]}}, {})


def test_an_inconvertible_array_of_another_library_is_named() -> None:
    class Attached:
        def __array__(self, *_: object, **__: object) -> None:
            raise RuntimeError("Can't call numpy() on Tensor that requires grad")

    with pytest.raises(TypeError, match=r"grads\['w'\] cannot be converted to a NumPy array: Can't call numpy"):
        encode({"grads": {"w": Attached()}}, {})  # type: ignore[dict-item]


def test_a_name_is_a_string() -> None:
    with pytest.raises(TypeError, match="a tensor's name must be a string, not 0"):
        encode({"params": {0: 1.0}}, {})  # type: ignore[dict-item]


@pytest.mark.parametrize("body", [b"", b"\x00" * 8, b"<html>", b"\xff" * 100])
def test_malformed_safetensors_are_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"(?i)header|buffer"):
        decode(body, "params")


def file(header: object, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def tensor(start: object = 0, end: object = 8, shape: object = (2,), dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


EIGHT = bytes(8)

MALFORMED = {
    "no object": (file([1]), r"an object as header, not \[1\]"),
    "not UTF-8": (file(b'{"\xff": 1}'), "the header is not JSON"),
    "UTF-16": (file('{"a": 1}'.encode("utf-16")), "the header is not JSON"),
    "nested": (file(b'{"a":' * 99_999), "the header is not JSON"),
    "cut": (file({"params/w": tensor()}, bytes(7)), "end at 8; expected 7"),
    "more": (file({"params/w": tensor()}, bytes(9)), "end at 8; expected 9"),
    "hole": (
        file({"params/a": tensor(0, 4, [1]), "params/b": tensor(8, 12, [1])}, bytes(12)),
        "begins at 8; expected 4",
    ),
    "overlap": (file({"params/a": tensor(), "params/b": tensor(4, 12)}, bytes(12)), "begins at 4; expected 8"),
    "before": (file({"params/w": tensor(-8, 0)}), "has 8 bytes"),
    "backwards": (file({"params/w": tensor(8, 0)}, EIGHT), "has -8 bytes"),
    "too small": (file({"params/w": tensor(shape=[3])}, EIGHT), r"8 bytes, which do not fit F32 \[3\]"),
    "huge": (file({"params/w": tensor(shape=[2**62, 4])}, EIGHT), "8 bytes, which do not fit F32"),
    "negative": (file({"params/w": tensor(shape=[-1, -2])}, EIGHT), "malformed entry 'params/w'"),
    "half a length": (file({"params/w": tensor(shape=[2.0])}, EIGHT), "malformed entry 'params/w'"),
    "a true length": (file({"params/w": tensor(shape=[2, True])}, EIGHT), "malformed entry 'params/w'"),
    "no shape": (file({"params/w": {"dtype": "F32", "data_offsets": [0, 8]}}, EIGHT), "malformed entry 'params/w'"),
    "no offsets": (file({"params/w": tensor(None)}, EIGHT), "malformed entry 'params/w'"),
    "another dtype": (file({"params/w": tensor(dtype="I32")}, EIGHT), "unknown dtype 'I32'"),
    "no dtype": (file({"params/w": tensor(dtype=4)}, EIGHT), "malformed entry 'params/w'"),
    "no metadata": (file({"__metadata__": 1, "params/w": tensor()}, EIGHT), "an object as metadata, not 1"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_answer_is_refused_as_the_library_does(case: str) -> None:
    body, message = MALFORMED[case]
    with pytest.raises(ValueError, match=message):
        decode(body, "params")
    if case != "another dtype":
        with pytest.raises(safetensors.SafetensorError):
            safetensors.deserialize(body)


def test_the_library_and_this_read_the_same() -> None:
    tensors = {"a": np.float32([[1, 2]]), "b": np.zeros((0, 3)), "c": np.float16(5)}
    body = safetensors.numpy.save({f"params/{name}": np.asarray(array) for name, array in tensors.items()}, {"x": "y"})
    arrays, metadata = decode(body, "params")
    assert metadata == {"x": "y"}
    for name, array in tensors.items():
        assert_same(arrays[name], np.asarray(array))


def test_arrays_are_views_of_writable_bodies_alone() -> None:
    body = bytearray(encode({"params": {"w": np.zeros(3)}}, {}))
    arrays, _ = decode(memoryview(body), "params")
    arrays["w"][:] = 7
    assert decode(memoryview(body), "params")[0]["w"].tolist() == [7, 7, 7]
    arrays, _ = decode(bytes(body), "params")
    arrays["w"][:] = 8
    assert decode(memoryview(body), "params")[0]["w"].tolist() == [7, 7, 7]


def test_tensors_that_lie_askew_are_aligned() -> None:
    header = {"params/a": tensor(0, 2, [1], "F16"), "params/w": tensor(2, 18, [2], "F64")}
    body = file(header, np.float16(1).tobytes() + np.float64([1, 2]).tobytes())
    arrays, _ = decode(memoryview(bytearray(body)), "params")
    assert (arrays["a"].tolist(), arrays["w"].tolist()) == ([1], [1, 2])
    assert all(array.flags.aligned and array.flags.writeable for array in arrays.values())


def test_contiguous_arrays_are_sent_without_a_copy() -> None:
    array = np.arange(_tensors.SMALL_BYTES // 4, dtype=np.float32).reshape(2, -1)
    [_, data] = _tensors.encode({"grads": {"w": array}}, {})
    assert np.shares_memory(np.frombuffer(data, np.float32), array)


@pytest.mark.long
def test_a_bfloat16_answer_without_ml_dtypes_names_the_package() -> None:
    body = encode({"params": {"w": np.zeros(2, ml_dtypes.bfloat16)}}, {})
    code = (
        "import sys; sys.modules['ml_dtypes'] = None\n"
        "from optim_client._tensors import decode, encode\n"
        "encode({'params': {'w': 1.0}}, {})\n"
        f"decode(bytes.fromhex({json.dumps(body.hex())}), 'params')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "ImportError: params/w is bfloat16" in ended.stderr
    assert "pip install ml_dtypes" in ended.stderr


W = '"params/w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'
G = '"grads/w":{"dtype":"F32","shape":[],"data_offsets":[8,12]}'


@pytest.mark.parametrize(
    "text",
    [
        f'{{"__metadata__":{{"step":"1"}},{W},{G}}}',
        f'{{"__metadata__":{{"step":"}},{{"}},{G},{W}}}  ',
        f'{{{W},"__metadata__":{{"step":"1"}},{G}}}',
        f'{{"__metadata__":{{"step":"1"}},{W},"__metadata__":{{}},{G}}}',
        f'{{"__metadata__":{{"step":"1"}},{W},"__metadata__":null,{G}}}',
        f'{{"__metadata__":{{"step":"1"}} ,{W},{G}}}',
        f'{{"__metadata__":{{"step":"1"}},,{W},{G}}}',
        f'{{"__metadata__":{{"step":1,}},{W},{G}}}',
        f'{{"__metadata__":{{"step":"1"}},{W}}}',
        '{"__metadata__":{"step":"1"}}',
        '{"__metadata__":{',
    ],
)
def test_a_kept_header_is_read_as_a_new_one(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def outcome(data: bytes) -> object:
        try:
            arrays, metadata = decode(bytearray(len(text).to_bytes(8, "little") + text.encode() + data), "params")
        except ValueError as error:
            return str(error)
        return [(name, x.dtype, x.tolist()) for name, x in arrays.items()], metadata

    kept = [outcome(bytes(size)) for size in (12, 12, 13, 12)]
    monkeypatch.setattr(_tensors, "LONGEST_KEPT", 0)
    assert kept == [outcome(bytes(size)) for size in (12, 12, 13, 12)]


def test_a_kept_header_is_written_as_a_new_one() -> None:
    tensors: list[dict[str, NDArray[np.generic]]] = [
        {"a": BASE, "b": np.float64([1, 2])},
        {"b": np.float64([1, 2]), "a": BASE},
        {"a": BASE.astype("f8"), "b": np.float64([1, 2])},
        {"a": BASE.reshape(6, 4), "b": np.float64([1, 2])},
        {"a": BASE, "b": np.zeros(2, ml_dtypes.bfloat16)},
        {"a": BASE, "b": np.zeros(5000, np.float32), "c": np.ones(1, np.float32)},
        {},
    ]
    pairs = [(kinds, grads) for kinds in (("grads",), ("params", "grads")) for grads in tensors]
    _tensors._written.cache_clear()
    kept = [encode(dict.fromkeys(kinds, grads), {"step": step}) for step in ("1", "22") for kinds, grads in pairs]
    new = []
    for step in ("1", "22"):
        for kinds, grads in pairs:
            _tensors._written.cache_clear()
            new.append(encode(dict.fromkeys(kinds, grads), {"step": step}))
    assert kept == new
    assert kept[6][8:].rstrip() == b'{"__metadata__":{"step":"1"}}'
