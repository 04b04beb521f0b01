"""Tensors of torch as arrays of NumPy, and back, to the bit."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from optim_client._tensors import BFLOAT16, EXTRA

DTYPES: dict[str, torch.dtype] = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}
"""The dtypes of a session's tensors."""
NAMES = {dtype: name for name, dtype in DTYPES.items()}


def to_array(tensor: torch.Tensor) -> NDArray[Any]:
    """Return the tensor as an array: a view where it lies contiguous in the memory of the CPU, else a copy.

    Raises `ImportError` for bfloat16 without ml_dtypes.
    """
    here = tensor.detach().cpu().resolve_neg().contiguous()
    if here.dtype != torch.bfloat16:
        plain: NDArray[Any] = here.numpy()
        return plain
    if not BFLOAT16:
        raise ImportError(f"a tensor is bfloat16, which needs ml_dtypes: {EXTRA}")
    half: NDArray[Any] = here.view(torch.int16).numpy().view(BFLOAT16["BF16"])
    return half


def to_tensor(array: NDArray[Any]) -> torch.Tensor:
    """Return a copy of the array as a tensor."""
    return as_tensor(array.copy())


def as_tensor(array: NDArray[Any]) -> torch.Tensor:
    """Return the array as a tensor with the same memory."""
    if array.dtype.name == "bfloat16":
        return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(array)
