"""A run: a large tensor, or a pack of small ones, as one vector for each slot."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from math import prod
from operator import itemgetter
from typing import Any

import numpy as np

from optim_engine.arrays import Array, Arrays, flat
from optim_engine.buffers import BUFFERS
from optim_engine.layout import SLOTS
from optim_engine.rule import Hyperparameters, Rule, Shape, Unit, elements
from optim_engine.spans import Spans
from optim_engine.sums import Chunk, chunks_of, whole_chunk

TINY = 1 << 10
"""Elements. Arrays that have fewer on average are joined as bytes, which takes a third of the time of NumPy; but the
memory is not from the pool."""


@dataclass(frozen=True)
class Run:
    """A large tensor, or a pack of small ones, with one group, one count of updates and one dtype."""

    tensors: tuple[str, ...]
    shapes: tuple[Shape, ...]
    dtype: np.dtype[Any]
    group: int | None
    rule: Rule[Any]
    h: Hyperparameters
    unit: Unit
    spans: Mapping[str, Spans]
    """The place of the tensors' values in the state's memory, by slot."""

    @cached_property
    def size(self) -> int:
        """Return the number of elements."""
        return sum(prod(shape) for shape in self.shapes)

    def count(self, counts: Mapping[str, int]) -> tuple[int, tuple[int, ...]]:
        """Return the tensors' count of updates among those after the step, and those of their rows if they differ."""
        return counts[self.tensors[0]], ()

    def gather(self, arrays: Arrays, dtype: np.dtype[Any] | None = None) -> Array:
        """Return the tensors' arrays as one vector in their order.

        A single array is returned as a view if its memory allows that. Several are copied into a vector of `dtype`, by
        default the run's. The result is only for reading.
        """
        if len(self.tensors) == 1:
            return flat(arrays[self.tensors[0]])
        several, dtype = self._of_all(arrays), dtype or self.dtype
        if 0 < self.size < TINY * len(several):
            with suppress(TypeError):  # raised for an array that is not contiguous
                joined = b"".join(several)
                if len(joined) == self.size * dtype.itemsize:  # otherwise some are of another dtype
                    return np.frombuffer(joined, dtype)
        return np.concatenate(several, axis=None, out=self.vector(dtype))

    def read(self, memory: Array) -> dict[str, Array]:
        """Return the tensors' values in a state's memory, as one vector to read for each slot."""
        if not self._scattered:
            return {slot: memory[place].view(dtype) for slot, place, dtype in self._places}
        return {slot: spans.read(memory) for slot, spans in self.spans.items()}

    def targets(self, memory: Array) -> dict[str, Array]:
        """Return a vector to fill for each slot; pass them to `write` when they are filled."""
        if not self._scattered:
            return self.read(memory)
        return {slot: spans.target(memory) for slot, spans in self.spans.items()}

    def write(self, memory: Array, targets: Arrays) -> None:
        """Copy filled targets to their place in the memory, unless they are views of it."""
        for slot, spans in self._scattered:
            spans.write(memory, targets[slot])

    @cached_property
    def numbers(self) -> list[str]:
        """The slots with one value for each tensor, instead of one for each element."""
        return [slot for slot in self.spans if SLOTS[slot].shape_of is not elements]

    @cached_property
    def _scattered(self) -> list[tuple[str, Spans]]:
        return [(slot, spans) for slot, spans in self.spans.items() if len(spans.ranges) != 1]

    @cached_property
    def _places(self) -> list[tuple[str, slice, np.dtype[Any]]]:
        """The bytes and the dtype of each slot, where none is scattered."""
        return [(slot, slice(*spans.ranges[0]), spans.dtype) for slot, spans in self.spans.items()]

    @property
    def chunks(self) -> list[Chunk]:
        """Return the chunks that are computed one by one.

        A pack is one chunk, because its values may have to be copied to their places when it is filled. A tensor whose
        rule updates whole tensors is one as well.
        """
        return self.chunks_of(1)

    def chunks_of(self, blocks: int) -> list[Chunk]:
        """Return the chunks, if those of a large tensor have so many blocks each."""
        if blocks not in self._chunks:
            sizes = [prod(shape) for shape in self.shapes]
            self._chunks[blocks] = whole_chunk(self.size) if self.unit is Unit.TENSOR else chunks_of(sizes, blocks)
        return self._chunks[blocks]

    @cached_property
    def _chunks(self) -> dict[int, list[Chunk]]:
        return {}

    def ranges_of(self, part: slice) -> Iterator[tuple[int, int]]:
        """Yield the ranges of bytes that a part of the run has in the state's memory, in all slots.

        Slots that do not have one value for each element belong to the first part.
        """
        for slot, spans in self.spans.items():
            if SLOTS[slot].shape_of is elements:
                yield from spans.ranges_of(part)
            elif not part.start:
                yield from ((start, end) for start, end in spans.ranges if start < end)

    def fresh(self, out: Arrays | None = None) -> Array:
        """Return a vector for new parameters: for a single tensor its array in `out`, if given, otherwise a new one."""
        if out is not None and len(self.tensors) == 1:
            return out[self.tensors[0]].reshape(-1, copy=False)
        return self.vector(self.dtype)

    def vector(self, dtype: np.dtype[Any]) -> Array:
        """Return a vector for the run with arbitrary content."""
        return BUFFERS.take(self.size * dtype.itemsize).view(dtype)

    @cached_property
    def _of_all(self) -> Callable[[Arrays], tuple[Any, ...]]:
        return itemgetter(*self.tensors)

    @property
    def parts(self) -> Iterator[tuple[str, slice, Shape]]:
        """Yield each tensor with its elements of the run and its shape."""
        end = 0
        for tensor, shape in zip(self.tensors, self.shapes, strict=True):
            start, end = end, end + prod(shape)
            yield tensor, slice(start, end), shape
