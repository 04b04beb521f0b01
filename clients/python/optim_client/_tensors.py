"""A zero-copy codec of safetensors: named arrays to bytes and back. Knows no HTTP.

The `safetensors` library is not used: it copies, silently writes arrays that are not contiguous wrongly, drops the
metadata or reorders it each time (a repeated step must be the same bytes), and lacks bfloat16.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from optim_client._buffers import Buffers
from optim_client._halves import Loss, narrow
from optim_client._protocol import Buffer

try:
    from ml_dtypes import bfloat16
except ImportError:
    BFLOAT16: dict[str, Any] = {}
else:
    BFLOAT16 = {"BF16": np.dtype(bfloat16)}

DTYPES: Mapping[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    **BFLOAT16,
}
CODE_OF = {dtype: code for code, dtype in DTYPES.items()}
CODES: Mapping[str, str] = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}

_BUFFERS = Buffers()
_EXTRA = "pip install ml_dtypes"

Arrays = dict[str, NDArray[Any]]
ArraysLike = Mapping[str, ArrayLike]
GradsLike = Mapping[str, ArrayLike | None]


def encode(tensors: Mapping[str, ArraysLike], metadata: Mapping[str, str]) -> list[Buffer]:
    """Return named tensors by kind (`{"params": {…}, "grads": {…}}`) as buffers: the same bytes for the same content.

    Wide dtypes come first, so that every tensor is aligned. Contiguous arrays are not copied: the buffers are views of
    them, and change with them. Raises `TypeError`.
    """
    arrays = {f"{kind}/{name}": _array(kind, name, value) for kind in tensors for name, value in tensors[kind].items()}
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name in names:
        array = arrays[name]
        start, end = end, end + array.nbytes
        header[name] = {
            "dtype": CODE_OF.get(array.dtype) or CODES[array.dtype.name],
            "shape": array.shape,
            "data_offsets": (start, end),
        }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return [len(text).to_bytes(8, "little") + text, *(arrays[name].reshape(-1).view("u1").data for name in names)]


def narrowed(grads: ArraysLike, wire_dtype: str, lost: dict[str, Loss] | None = None) -> Arrays:
    """Return the arrays, those of float32 rounded to that dtype: to nearest even, and to infinity beyond its range.

    `lost` gets, by name, the counts of elements that became zero or infinite.
    """
    dtype = DTYPES.get(CODES[wire_dtype])
    if dtype is None:
        raise ImportError(f"the session's wire_dtype is {wire_dtype}, which needs ml_dtypes: {_EXTRA}")
    arrays = {name: _array("grads", name, value) for name, value in grads.items()}
    for name, array in arrays.items():
        if _is_float32(array):
            loss = None if lost is None else Loss()
            arrays[name] = _room(array, dtype)
            narrow(array, arrays[name], loss)
            if lost is not None and loss:
                lost[name] = loss
    return arrays


def widened(params: Arrays, grads: ArraysLike) -> Arrays:
    """Return the parameters, as float32 where the gradient is float32, which is exact."""
    return {
        name: _cast(array, DTYPES["F32"]) if _is_float32(np.asarray(grads[name])) else array
        for name, array in params.items()
    }


def _cast(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    cast = _room(array, dtype)
    cast[...] = array
    return cast


def _room(array: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return memory for the array in another dtype."""
    return _BUFFERS.take(array.size * dtype.itemsize).view(dtype).reshape(array.shape)


def _is_float32(array: NDArray[Any]) -> bool:
    return array.dtype.name == "float32"


def decode(body: Buffer, kind: str) -> tuple[Arrays, dict[str, str]]:
    """Return the tensors of one kind, as writable arrays, and the metadata. Raises `ValueError`.

    The arrays are views of the body, or copies where the body is read-only.
    """
    header, data = _split(body)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict):
        raise ValueError(f"expected an object as metadata, not {metadata!r:.80}")
    tensors = sorted((_placed(name, header[name]) for name in header), key=lambda tensor: tensor.place)
    end = 0
    for tensor in tensors:
        if tensor.place[0] != end:
            raise ValueError(f"{tensor.name} begins at {tensor.place[0]}; expected {end}, where the one before it ends")
        end = tensor.place[1]
    if end != len(data):
        raise ValueError(f"the tensors end at {end}; expected {len(data)}, the buffer's end")
    prefix = f"{kind}/"
    arrays = {tensor.name.removeprefix(prefix): tensor.of(data) for tensor in tensors if tensor.name.startswith(prefix)}
    return arrays, metadata


class _Placed(NamedTuple):
    """A tensor of the header, with the place of its bytes."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    place: tuple[int, int]

    def of(self, data: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the tensor as a view of the data; a copy where it is not aligned."""
        array = data[slice(*self.place)]
        aligned = array if array.ctypes.data % self.dtype.itemsize == 0 else array.copy()
        return aligned.view(self.dtype).reshape(self.shape)


def _split(body: Buffer) -> tuple[dict[str, Any], NDArray[np.uint8]]:
    """Return the header, and the bytes after it."""
    whole = np.frombuffer(body, np.uint8)
    size = int.from_bytes(body[:8], "little")
    if len(whole) < 8 or size > len(whole) - 8:
        raise ValueError(f"a header of {size} bytes does not fit a buffer of {len(whole)}")
    try:
        header = json.loads(bytes(body[8 : 8 + size]).decode())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the header is not JSON: {error}") from error
    if not isinstance(header, dict):
        raise ValueError(f"expected an object as header, not {header!r:.80}")
    data = whole[8 + size :]
    return header, data if data.flags.writeable else data.copy()


def _placed(name: str, tensor: Any) -> _Placed:
    match tensor:
        case {"dtype": str(code), "shape": [*shape], "data_offsets": [int(start), int(end)]} if all(
            type(length) is int and length >= 0 for length in shape
        ):
            if code == "BF16" and code not in DTYPES:
                raise ImportError(f"{name} is bfloat16, which needs ml_dtypes: {_EXTRA}")
            if code not in DTYPES:
                raise ValueError(f"unknown dtype {code!r} of {name}; expected one of {', '.join(DTYPES)}")
            if start < 0 or end - start != math.prod(shape) * DTYPES[code].itemsize:
                raise ValueError(f"{name} has {end - start} bytes, which do not fit {code} {shape}")
            return _Placed(name, DTYPES[code], tuple(shape), (start, end))
    raise ValueError(f"malformed entry {name!r} in the header: {tensor!r:.120}")


def _array(kind: str, name: str, value: ArrayLike) -> NDArray[Any]:
    """Return a contiguous, little-endian array of the same shape. `ascontiguousarray` would make a scalar a vector."""
    if not isinstance(name, str):
        raise TypeError(f"a tensor's name must be a string, not {name!r}")
    if type(value) is np.ndarray and value.dtype in CODE_OF and value.flags.c_contiguous:
        return value
    if getattr(value, "requires_grad", False) is True:
        raise TypeError(
            f"{kind}[{name!r}] requires grad, so NumPy cannot read it: pass it with .detach(), for example "
            "{name: p.detach() for name, p in model.named_parameters()}"
        )
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: torch, of a tensor that requires grad
        raise TypeError(f"{kind}[{name!r}] cannot be converted to a NumPy array: {error}") from error
    if array.dtype.hasobject:
        raise TypeError(
            f"{kind}[{name!r}] has dtype object, because it is {type(value).__name__}; expected a tree of mappings, "
            "lists and tuples, with float32 or other arrays as its leaves"
        )
    if array.dtype.name not in CODES:
        raise TypeError(
            f"{kind}[{name!r}] has unknown dtype {array.dtype}; expected one of float64, float32, float16, bfloat16: "
            "convert it first, for example with .astype('float32')"
        )
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
