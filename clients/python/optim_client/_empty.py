"""Arrays that are made for gradients, side by side as a request has them, in memory of any kind."""

import math
import operator
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from optim_client._tensors import CODES, DTYPES, Arrays, in_order

PAGE_BYTES = 1 << 12
"""The room for a header without tensors; each tensor adds to it."""
ENTRY_BYTES = 160
"""The most bytes of a tensor's entry in a header beside its name and shape: about 60, and two offsets."""
DIMENSION_BYTES = 24
"""The most bytes of a length in a header: 19 digits and a comma."""
CHARACTER_BYTES = 6
"""The most bytes of a character in JSON, such as `\\u0000`."""

Shapes = Mapping[str, int | Sequence[int]]
DTypes = DTypeLike | Mapping[str, DTypeLike]


class Plan:
    """The places of arrays in memory that is yet to be made: `nbytes` bytes, with room for a header `before` them."""

    def __init__(self, shapes: Shapes, dtype: DTypes) -> None:
        """Place arrays of these shapes. Raises `TypeError` and `ValueError` for what no request can have."""
        if not isinstance(shapes, Mapping):
            raise TypeError(f"shapes must be a dict, such as {{'w': (2, 3)}}, not {shapes!r:.80}")
        self._specs = {name: (_shape(name, shape), _dtype(name, dtype)) for name, shape in shapes.items()}
        self.nbytes = sum(math.prod(shape) * kind.itemsize for shape, kind in self._specs.values())
        entries = [
            ENTRY_BYTES + DIMENSION_BYTES * len(shape) + CHARACTER_BYTES * len(name)
            for name, (shape, _) in self._specs.items()
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


def _shape(name: str, shape: Any) -> tuple[int, ...]:
    if not isinstance(name, str):
        raise TypeError(f"an array's name must be a string, not {name!r:.80}")
    is_tree = isinstance(shape, Mapping)
    try:
        lengths = tuple(map(operator.index, [shape] if is_tree or not isinstance(shape, Iterable) else shape))
    except TypeError:
        raise TypeError(
            f"{name!r}: a shape is an integer or a list of integers, not {shape!r:.80}; name a tree's arrays by their "
            "paths, such as 'a/b'"
        ) from None
    if any(length < 0 for length in lengths):
        raise ValueError(f"{name!r}: a shape of {lengths}; expected lengths from 0 on")
    return lengths


def _dtype(name: str, dtypes: Any) -> np.dtype[Any]:
    if isinstance(dtypes, Mapping) and name not in dtypes:
        raise ValueError(f"{name!r} has no dtype: give one for each array, or one for all")
    dtype = dtypes[name] if isinstance(dtypes, Mapping) else dtypes
    kind = None
    with suppress(TypeError):
        kind = DTYPES.get(CODES.get(np.dtype(dtype).name, ""))
    if kind is None:
        raise TypeError(f"{name!r} would have dtype {dtype!r:.40}; expected one of {', '.join(CODES)}")
    return kind
