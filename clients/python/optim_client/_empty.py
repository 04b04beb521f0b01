"""Arrays that are made for gradients, side by side as a request has them, in memory of any kind."""

import math
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from optim_client._tensors import CODES, DTYPES, Arrays, in_order

PAGE_BYTES = 1 << 12
"""The room for a header without tensors; each tensor adds to it."""
ENTRY_BYTES = 160
DIMENSION_BYTES = 24

Shapes = Mapping[str, int | Sequence[int]]
DTypes = DTypeLike | Mapping[str, DTypeLike]


class Plan:
    """The places of arrays in memory that is yet to be made: `nbytes` bytes, with room for a header `before` them."""

    def __init__(self, shapes: Shapes, dtype: DTypes) -> None:
        """Plan. Raises `TypeError` for a dtype that no request can have, and `ValueError` for a shape."""
        if not isinstance(shapes, Mapping):
            raise TypeError(f"shapes must be a dict, such as {{'w': (2, 3)}}, not {shapes!r:.80}")
        kinds: Any = dtype
        self._specs = {
            name: (_shape(shape), _dtype(name, kinds[name] if isinstance(dtype, Mapping) else dtype))
            for name, shape in shapes.items()
        }
        self.nbytes = sum(math.prod(shape) * kind.itemsize for shape, kind in self._specs.values())
        entries = [
            ENTRY_BYTES + DIMENSION_BYTES * len(shape) + 6 * len(name) for name, (shape, _) in self._specs.items()
        ]
        self.before = PAGE_BYTES + sum(entries) + -sum(entries) % PAGE_BYTES

    def of(self, memory: NDArray[np.uint8]) -> Arrays:
        """Return the arrays in the memory, in the order of the shapes."""
        names = list(self._specs)
        order = in_order([f"grads/{name}" for name in names], [kind for _, kind in self._specs.values()])
        arrays, end = Arrays(), 0
        for name in [names[i] for i in order]:
            shape, kind = self._specs[name]
            start, end = end, end + math.prod(shape) * kind.itemsize
            arrays[name] = memory[start:end].view(kind).reshape(shape)
        return {name: arrays[name] for name in self._specs}


def _shape(shape: int | Sequence[int]) -> tuple[int, ...]:
    lengths = tuple(operator.index(length) for length in ([shape] if isinstance(shape, int) else shape))
    if any(length < 0 for length in lengths):
        raise ValueError(f"a shape of {lengths}; expected lengths from 0 on")
    return lengths


def _dtype(name: str, dtype: DTypeLike) -> np.dtype[Any]:
    kind = DTYPES.get(CODES.get(np.dtype(dtype).name, ""))
    if kind is None:
        raise TypeError(f"{name!r} would have dtype {dtype!r:.40}; expected one of {', '.join(CODES)}")
    return kind
