"""A run: a big tensor, or a pack of small ones, read, filled and written as one vector for each slot."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import prod
from operator import itemgetter
from typing import Any

import numpy as np

from optim_engine.arrays import Array, Arrays, flat
from optim_engine.buffers import BUFFERS
from optim_engine.layout import SLOTS
from optim_engine.rule import Hyperparameters, Unit, elements
from optim_engine.spans import Spans
from optim_engine.sums import Chunk, chunks_of, whole_chunk


@dataclass(frozen=True)
class Run:
    """A big tensor, or a pack of small ones: of one group, one count of updates and one dtype."""

    tensors: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtype: np.dtype[Any]
    group: int | None
    h: Hyperparameters
    unit: Unit
    spans: Mapping[str, Spans]
    """By slot, where the tensors' values stand in the state's memory."""

    @cached_property
    def size(self) -> int:
        """Elements."""
        return sum(prod(shape) for shape in self.shapes)

    def gather(self, arrays: Arrays, dtype: np.dtype[Any] | None = None) -> Array:
        """Return the tensors' arrays as one vector: a view of a single one, if its memory allows that; several in the
        run's dtype, or another that they are in."""
        if len(self.tensors) == 1:
            return flat(arrays[self.tensors[0]])
        return np.concatenate(self._of_all(arrays), axis=None, out=self.vector(dtype or self.dtype))

    def read(self, memory: Array) -> dict[str, Array]:
        """Return by slot what a state's memory has for the tensors, as a vector to read."""
        return {slot: spans.read(memory) for slot, spans in self.spans.items()}

    def targets(self, memory: Array) -> dict[str, Array]:
        """Return by slot a vector to be filled and then given to `write`."""
        return {slot: spans.target(memory) for slot, spans in self.spans.items()}

    def write(self, memory: Array, targets: Arrays) -> None:
        """Bring filled targets to where they stand in the memory, if they are not views of it."""
        for slot, spans in self.spans.items():
            spans.write(memory, targets[slot])

    @cached_property
    def chunks(self) -> list[Chunk]:
        """The parts that are computed one by one. A pack is one, for its values may have to be brought to their places
        when it is filled; and so is a tensor whose rule wants it whole."""
        return whole_chunk(self.size) if self.unit is Unit.TENSOR else chunks_of([prod(shape) for shape in self.shapes])

    def ranges_of(self, part: slice) -> Iterator[tuple[int, int]]:
        """Yield the bytes of the state's memory that a part of the run stands in, in all slots. What has not one value
        for each element goes with the first part."""
        for slot, spans in self.spans.items():
            if SLOTS[slot].shape_of is elements:
                yield from spans.ranges_of(part)
            elif not part.start:
                yield from ((start, end) for start, end in spans.ranges if start < end)

    def fresh(self, out: Arrays | None = None) -> Array:
        """Return a vector for new parameters: a single tensor's is its array of `out`, if that is given."""
        if out is not None and len(self.tensors) == 1:
            return out[self.tensors[0]].reshape(-1, copy=False)
        return self.vector(self.dtype)

    def vector(self, dtype: np.dtype[Any]) -> Array:
        """Return one with whatever content."""
        return BUFFERS.take(self.size * dtype.itemsize).view(dtype)

    def named(self, vector: Array, out: Arrays | None = None) -> dict[str, Array]:
        """Return the filled vector's parts by tensor: views of it, or the arrays of `out` with the values in them."""
        parts = {
            tensor: vector[part] if len(shape) == 1 else vector[part].reshape(shape)
            for tensor, part, shape in self._parts
        }
        if out is None:
            return parts
        if len(parts) > 1:
            for tensor, part in parts.items():
                out[tensor][...] = part
        return {tensor: out[tensor] for tensor in parts}

    @cached_property
    def _of_all(self) -> Callable[[Arrays], tuple[Array, ...]]:
        return itemgetter(*self.tensors)

    @cached_property
    def _parts(self) -> list[tuple[str, slice, tuple[int, ...]]]:
        ends = list(accumulate(prod(shape) for shape in self.shapes))
        return list(zip(self.tensors, map(slice, [0, *ends[:-1]], ends), self.shapes, strict=True))
