"""The package `safetensors`, which our own reader and writer are held against."""

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

DTYPES = {
    "I64": np.int64,
    "I8": np.int8,
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
}


def save(tensors: Mapping[str, np.ndarray[Any, Any]], metadata: Mapping[str, str] | None = None) -> bytes:
    """A file by the package's serializer, from contiguous arrays."""
    specs = {
        name: safetensors.TensorSpec(
            dtype=array.dtype.name, shape=array.shape, data_ptr=array.ctypes.data, data_len=array.nbytes
        )
        for name, array in tensors.items()
    }
    return bytes(safetensors.serialize(specs, None if metadata is None else dict(metadata)))


def load(file: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays by the package's deserializer."""
    return {
        name: np.frombuffer(t["data"], np.uint8).view(DTYPES[t["dtype"]]).reshape(t["shape"])
        for name, t in safetensors.deserialize(file)
    }
