"""Named arrays as safetensors bytes, and back. Knows no HTTP.

The library reads; it does not write, because a step that is sent again must be the same bytes, and the library puts
the metadata in another order each time. Its `safetensors.numpy` also writes an array that is not contiguous wrongly,
without an error, drops the metadata, and does not know bfloat16.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
from numpy.typing import ArrayLike, NDArray

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
CODES: Mapping[str, str] = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}

Arrays = dict[str, NDArray[Any]]
ArraysLike = Mapping[str, ArrayLike]


def encode(tensors: Mapping[str, ArraysLike], metadata: Mapping[str, str]) -> bytes:
    """Kinds of named tensors (`{"params": {…}, "grads": {…}}`) as bytes: the same ones for the same content.

    Wide dtypes come first, so that every tensor lies aligned. The inputs are not written to.
    """
    arrays = {f"{kind}/{name}": _array(kind, name, value) for kind in tensors for name, value in tensors[kind].items()}
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name in names:
        array = arrays[name]
        start, end = end, end + array.nbytes
        header[name] = {"dtype": CODES[array.dtype.name], "shape": array.shape, "data_offsets": (start, end)}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    data = (arrays[name].reshape(-1).view("u1").data for name in names)
    return b"".join([len(text).to_bytes(8, "little"), text, *data])


def decode(body: bytes, kind: str) -> tuple[Arrays, dict[str, str]]:
    """The tensors of one kind, as arrays that may be written to, and the metadata. Raises `ValueError`."""
    try:
        tensors: list[tuple[str, dict[str, Any]]] = safetensors.deserialize(body)  # type: ignore[no-untyped-call]
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error
    prefix = f"{kind}/"
    arrays = {name.removeprefix(prefix): _view(name, **view) for name, view in tensors if name.startswith(prefix)}
    header = json.loads(body[8 : 8 + int.from_bytes(body[:8], "little")])
    return arrays, header.get("__metadata__", {})


def _array(kind: str, name: str, value: ArrayLike) -> NDArray[Any]:
    """Contiguous and little-endian, in its own shape: `numpy.ascontiguousarray` would make a scalar a vector."""
    if not isinstance(name, str):
        raise TypeError(f"a tensor's name is a string, not {name!r}")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: torch, of a tensor that requires grad
        raise TypeError(f"{kind}[{name!r}] cannot be made a NumPy array: {error}") from error
    if array.dtype.name not in CODES:
        raise TypeError(
            f"{kind}[{name!r}] has dtype {array.dtype}; a tensor is float64, float32, float16 or bfloat16: "
            "convert it first, for example with .astype('float32')"
        )
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def _view(name: str, dtype: str, shape: list[int], data: bytearray) -> NDArray[Any]:
    if dtype == "BF16" and dtype not in DTYPES:
        raise ImportError(f"{name} is bfloat16, which NumPy lacks: pip install 'optim-client[bfloat16]'")
    return np.frombuffer(data, dtype=DTYPES[dtype]).reshape(shape)
