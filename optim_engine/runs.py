"""Runs: tensors that are updated as one vector, and how they become one and are taken apart again."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np

from optim_engine.arrays import Array, Arrays, flat
from optim_engine.buffers import BUFFERS
from optim_engine.hyperparameters import Hyperparameters
from optim_engine.places import Places, gather


@dataclass(frozen=True)
class Run:
    """A big tensor, or a pack of small ones: of one group, one count of updates and one dtype."""

    tensors: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtype: np.dtype[Any]
    group: int | None
    h: Hyperparameters
    places: Mapping[str, Places]
    """By slot, where the tensors' values stand in the state's memory."""

    def gather(self, arrays: Arrays) -> Array:
        """The tensors' arrays as one vector: a view of a single one, if its memory allows that."""
        return gather([flat(arrays[tensor]) for tensor in self.tensors])

    def read(self, memory: Array) -> dict[str, Array]:
        """By slot, what a state's memory has for the tensors, as a vector to read."""
        return {slot: places.read(memory) for slot, places in self.places.items()}

    def targets(self, memory: Array) -> dict[str, Array]:
        """By slot, a vector to be filled and then given to `write`."""
        return {slot: places.target(memory) for slot, places in self.places.items()}

    def write(self, memory: Array, targets: Arrays) -> None:
        """Bring filled targets to where they stand in the memory, if they are not views of it."""
        for slot, places in self.places.items():
            places.write(memory, targets[slot])

    def fresh(self, out: Arrays | None = None) -> Array:
        """A vector for new parameters: a single tensor's is its array of `out`, if that is given."""
        if out is not None and len(self.tensors) == 1:
            return out[self.tensors[0]].reshape(-1, copy=False)
        size = sum(prod(shape) for shape in self.shapes)
        return BUFFERS.take(size * self.dtype.itemsize).view(self.dtype)

    def named(self, vector: Array, out: Arrays | None = None) -> dict[str, Array]:
        """The filled vector taken apart: views of it by tensor, or the arrays of `out` with the values in them."""
        parts = {tensor: vector[part].reshape(shape) for tensor, part, shape in self._parts}
        if out is None:
            return parts
        if len(parts) > 1:
            for tensor, part in parts.items():
                out[tensor][...] = part
        return {tensor: out[tensor] for tensor in parts}

    @cached_property
    def _parts(self) -> list[tuple[str, slice, tuple[int, ...]]]:
        ends = list(accumulate(prod(shape) for shape in self.shapes))
        return list(zip(self.tensors, map(slice, [0, *ends[:-1]], ends), self.shapes, strict=True))
