"""Spans of a state's memory: the values of several tensors, used as one vector."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from optim_engine.arrays import Array
from optim_engine.buffers import BUFFERS


@dataclass(frozen=True, slots=True)
class Spans:
    """Ranges of bytes (start, end) with values of one dtype, in order; adjacent ranges are joined."""

    dtype: np.dtype[Any]
    ranges: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, dtype: np.dtype[Any], ranges: Iterable[tuple[int, int]]) -> Self:
        """Return the spans of those ranges, adjacent ones joined."""
        joined: list[tuple[int, int]] = []
        for start, end in ranges:
            if joined and joined[-1][1] == start:
                joined[-1] = (joined[-1][0], end)
            else:
                joined.append((start, end))
        return cls(dtype, tuple(joined))

    def read(self, memory: Array) -> Array:
        """Return the values as one vector to read: a view of a single range, otherwise a copy."""
        if len(self.ranges) == 1:
            start, end = self.ranges[0]
            return memory[start:end].view(self.dtype)
        return gather([memory[start:end].view(self.dtype) for start, end in self.ranges])

    def target(self, memory: Array) -> Array:
        """Return a vector to fill and then `write`: a view of a single range, otherwise a new one."""
        if len(self.ranges) == 1:
            return self.read(memory)
        return BUFFERS.take(sum(end - start for start, end in self.ranges)).view(self.dtype)

    def write(self, memory: Array, target: Array) -> None:
        """Copy a filled target to its place in the memory, unless it is a view of it."""
        if len(self.ranges) > 1:
            scatter(target, [memory[start:end].view(self.dtype) for start, end in self.ranges])

    def ranges_of(self, part: slice) -> Iterator[tuple[int, int]]:
        """Yield the ranges of bytes in the memory of a part of the vector; the part is in elements."""
        first, last = part.start * self.dtype.itemsize, part.stop * self.dtype.itemsize
        passed = 0
        for start, end in self.ranges:
            left, right = max(first - passed, 0), min(last - passed, end - start)
            if left < right:
                yield start + left, start + right
            passed += end - start


def gather(vectors: Sequence[Array]) -> Array:
    """Return the vectors concatenated; a single one is not copied."""
    if len(vectors) == 1:
        return vectors[0]
    together = BUFFERS.take(sum(vector.nbytes for vector in vectors)).view(vectors[0].dtype)
    return np.concatenate(vectors, out=together)


def scatter(vector: Array, targets: Iterable[Array]) -> None:
    """Copy the parts of a vector into the targets, in order."""
    start = 0
    for target in targets:
        end = start + target.size
        target[...] = vector[start:end].reshape(target.shape)
        start = end


def rest(taken: Iterable[tuple[int, int]], end: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges of a memory of `end` bytes between the taken ones, which do not overlap.

    An empty one, of a tensor without elements, may lie within another.
    """
    start = 0
    for left, right in [*sorted(taken), (end, end)]:
        if left > start:
            yield start, left
        start = max(start, right)
