"""Torch's tensors as NumPy arrays, and arrays back into tensors. Contiguous memory of the CPU is not copied.

A tensor of an accelerator passes through host memory that is made once for it, pinned where there is an accelerator to
pin it for.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from optim_client._tensors import BFLOAT16, EXTRA
from optim_client.torch._arrays import NAMES, as_tensor, to_array

BITS: Mapping[int, np.dtype[Any]] = {2: np.dtype("<i2"), 4: np.dtype("<i4"), 8: np.dtype("<i8")}
"""The integer dtypes by their size: arrays are the same if their bits are."""

BLOCK = 1 << 16
"""Elements that are compared at a time, so that the result of it stays in the processor's cache."""

Params = Mapping[str, torch.Tensor]
Array = NDArray[Any]


def check_dtype(name: str, tensor: torch.Tensor) -> None:
    """Raise `TypeError` if the service has no such dtype, `ImportError` if this process lacks it."""
    if tensor.dtype not in NAMES:
        raise TypeError(f"parameter {name!r} is {tensor.dtype}; expected {', '.join(NAMES.values())}")
    if tensor.dtype == torch.bfloat16 and not BFLOAT16:
        raise ImportError(f"parameter {name!r} is bfloat16, which needs ml_dtypes: {EXTRA}")


def same_bits(one: Array, other: Array) -> bool:
    """Return whether two contiguous arrays are equal in shape, dtype and every bit (a NaN equals itself)."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    bits = BITS[one.itemsize]
    these, those = one.reshape(-1).view(bits), other.reshape(-1).view(bits)
    starts = range(0, len(these), BLOCK)
    return all(np.array_equal(these[i : i + BLOCK], those[i : i + BLOCK]) for i in starts)


class Staging:
    """The way between tensors and arrays, with the host memory of tensors on an accelerator."""

    def __init__(self) -> None:
        self._host: dict[tuple[str, str], torch.Tensor] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Pickle no memory."""
        return {"_host": {}}

    def arrays(self, tensors: Params, kind: str = "params") -> dict[str, Array]:
        """Return the tensors as arrays. They may be views: use them before the tensors change.

        An array of an accelerator's tensor lasts until the next one of that kind and name.
        """
        host = {name: self._hosted((kind, name), tensor.detach()) for name, tensor in tensors.items()}
        for device in {tensor.device for tensor in tensors.values()} - {torch.device("cpu")}:
            torch.accelerator.synchronize(device)
        return {name: to_array(tensor) for name, tensor in host.items()}

    def write(self, tensors: Params, arrays: Mapping[str, Array]) -> None:
        """Copy each array into the tensor of its name."""
        with torch.no_grad():
            for name, array in arrays.items():
                tensor, source = tensors[name], as_tensor(array)
                if not is_on_cpu(tensor):
                    source = self._room(("grads", name), tensor).copy_(source)  # which were sent
                tensor.copy_(source, non_blocking=True)

    def _hosted(self, key: tuple[str, str], tensor: torch.Tensor) -> torch.Tensor:
        if is_on_cpu(tensor):
            return tensor
        return self._room(key, tensor).copy_(tensor, non_blocking=True)

    def _room(self, key: tuple[str, str], tensor: torch.Tensor) -> torch.Tensor:
        """Return the tensor's host memory."""
        room = self._host.get(key)
        if room is None or room.shape != tensor.shape or room.dtype != tensor.dtype:
            pinned = torch.accelerator.is_available()
            room = self._host[key] = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=pinned)
        return room


def is_on_cpu(tensor: torch.Tensor) -> bool:
    """Return whether the tensor is in the process's own memory."""
    return bool(tensor.device.type == "cpu")
