"""Sums of squares, tensor by tensor, in one order on every machine.

docs/numerics.md ("Sums of squares") has the definition: short rows are summed in the compute dtype, and the rows' sums
in float64. NumPy adds and multiplies whole arrays, which has one result on every processor. The one order of its own
that is used here, `reduceat`, is checked before.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from math import inf, isfinite
from typing import Any, Protocol

import numpy as np

from optim_engine import arrays
from optim_engine.arrays import Array, compute_dtype, cut, widened
from optim_engine.buffers import scratch

SMALL = 1 << 15
"""Elements. A smaller tensor is summed in rows of neighbours, a larger one in blocks of tiles."""
ROW = 128
LANES = 512
DEPTH = 32
TILE = DEPTH * LANES
FEWER = 16
"""The lanes that a block's lanes are reduced to."""
TRUSTED = 2.0**-100
"""The least sum of squares in float32 that has certainly lost nothing to underflow; below it, float64 is used."""


class Part(Protocol):
    """A part of a run, and the order in which its squares are summed: whole small tensors, or a block of a large
    one."""

    @property
    def place(self) -> slice:
        """The elements of the chunk that it has."""

    @property
    def sizes(self) -> Sequence[int]:
        """The number of elements of each tensor, or of the block. Each has a sum of its own."""

    @property
    def tensors(self) -> slice:
        """The run's tensors that it has, or has a block of."""

    def rows(self, squares: Array) -> Array:
        """Return the sums of short rows of squares, in their dtype. `squares` is as long as `room` says."""

    def totals(self, rows: Sequence[Array]) -> Array:
        """Return the float64 sums of several vectors' rows, for each small tensor or the block: [sums, vectors]."""


def room(size: int) -> int:
    """Return the length of an array for the squares of `size` elements: whole rows of lanes."""
    return -(-size // LANES) * LANES


@dataclass(frozen=True, eq=False)
class Block:
    """A block of a large tensor. Element i is in lane i mod 512. A tile is 32 rows of lanes."""

    place: slice

    @property
    def sizes(self) -> Sequence[int]:
        return (self.place.stop - self.place.start,)

    @property
    def tensors(self) -> slice:
        return slice(0, 1)

    def rows(self, squares: Array) -> Array:
        (size,) = self.sizes
        end, whole = room(size), size // TILE
        squares[size:end] = 0
        rows = np.empty((whole + (whole * TILE < end), LANES), squares.dtype)
        if whole:
            np.add.reduce(squares[: whole * TILE].reshape(whole, DEPTH, LANES), axis=1, out=rows[:whole])
        if whole < len(rows):
            np.add.reduce(squares[whole * TILE : end].reshape(-1, LANES), axis=0, out=rows[whole])
        return rows

    def totals(self, rows: Sequence[Array]) -> Array:
        tiles = np.empty((len(rows), *rows[0].shape))
        for i, row in enumerate(rows):
            tiles[i] = row
        lanes = np.add.reduce(tiles, axis=1)
        return in_order(np.add.reduce(lanes.reshape(len(rows), -1, FEWER), axis=1).T)


@dataclass(frozen=True, eq=False)
class Tensors:
    """Consecutive small tensors. A row is 128 neighbours, or a tensor's remainder."""

    place: slice
    sizes: Sequence[int]
    first: int = 0
    """The index in the run of the first one."""

    @property
    def tensors(self) -> slice:
        return slice(self.first, self.first + len(self.sizes))

    @cached_property
    def _rows(self) -> tuple[Array, Array | None]:
        """Return each row's start and its tensor; None instead of the tensors if each has one row."""
        starts: list[int] = []
        tensors: list[int] = []
        first = 0
        for tensor, size in enumerate(self.sizes):
            starts += range(first, first + size, ROW)
            tensors += [tensor] * -(-size // ROW)
            first += size
        each_is_one = tensors == list(range(len(self.sizes)))
        return np.array(starts, np.intp), None if each_is_one else np.array(tensors, np.intp)

    def rows(self, squares: Array) -> Array:
        squares, (starts, _) = squares[: self.place.stop - self.place.start], self._rows
        return np.add.reduceat(squares, starts) if adds_as_defined() else rows_by_hand(squares, starts)

    def totals(self, rows: Sequence[Array]) -> Array:
        if len(self.sizes) == 1:
            return in_order(np.array(rows, np.float64).T)
        _, tensors = self._rows
        sums = np.empty((len(self.sizes), len(rows)))
        for i, row in enumerate(rows):
            sums[:, i] = row if tensors is None else np.bincount(tensors, row, len(self.sizes))
        return sums


@dataclass(frozen=True, eq=False)
class Chunk:
    """The part of a run that one thread updates at a time: blocks of a large tensor, or a whole run of small ones."""

    place: slice
    """The elements of the run that it has."""
    parts: Sequence[Part]

    @cached_property
    def room(self) -> int:
        """The length of an array for the squares of the largest part."""
        return room(max(part.place.stop - part.place.start for part in self.parts))

    @property
    def small(self) -> bool:
        return isinstance(self.parts[0], Tensors)

    @cached_property
    def ends(self) -> Array:
        """The end of each small tensor, or of each block."""
        return np.cumsum([size for part in self.parts for size in part.sizes], dtype=np.int64)


def chunks_of(sizes: Sequence[int], blocks: int = 1) -> list[Chunk]:
    """Return the chunks of a run whose tensors have these sizes: one large tensor, in chunks of so many blocks, or
    small ones."""
    if len(sizes) == 1 and sizes[0] >= SMALL:
        return [Chunk(place, _blocks(place.stop - place.start)) for place in cut(sizes[0], blocks * arrays.CHUNK)]
    return [Chunk(slice(0, sum(sizes)), list(_together(sizes)))]


def whole_chunk(size: int) -> list[Chunk]:
    """Return the only chunk of a tensor that is computed as a whole."""
    return [Chunk(slice(0, size), _blocks(size) if size >= SMALL else [Tensors(slice(0, size), [size])])]


def _blocks(size: int) -> list[Block]:
    return [Block(part) for part in cut(size, arrays.BLOCK)]


def _together(sizes: Sequence[int]) -> Iterator[Tensors]:
    """Yield whole tensors, as many at a time as a block holds, but at least one."""
    first = start = end = 0
    for tensor, size in enumerate(sizes):
        if end > start and end + size - start > arrays.BLOCK:
            yield Tensors(slice(start, end), sizes[first:tensor], first)
            first, start = tensor, end
        end += size
    yield Tensors(slice(start, end), sizes[first:], first)


def in_order(sums: Array) -> Array:
    """Return the sum of each column, added from the first row to the last: [1, columns]. NumPy promises this order for
    `accumulate`; Python's `sum` differs between versions."""
    if len(sums) == 1:
        return sums
    return np.add.accumulate(sums, axis=0)[-1:] if len(sums) else np.zeros((1, *sums.shape[1:]))


def settled(totals: Array, dtype: np.dtype[Any]) -> bool:
    """Return whether all sums of squares are finite, and in float32 also large enough to have lost nothing."""
    least = TRUSTED if dtype.itemsize == 4 else 0.0
    if len(totals) == 1:
        row = totals[0].tolist()
        return isfinite(sum(row)) and bool(min(row) >= least)
    return bool(totals.min(initial=inf) >= least and totals.max(initial=0) < inf)


def settle(totals: Array, part: Part, vectors: Iterable[Array]) -> None:
    """Sum again in float64 where squares of float32 left their range. Sums of float64 vectors stay."""
    for total, x in zip(totals.T, vectors, strict=True):
        lost = ~((total >= TRUSTED) & (total < inf))
        if lost.any() and x.dtype != np.float64:
            squares = np.zeros(room(len(x)))
            squares[: len(x)] = x
            np.multiply(squares, squares, out=squares)
            total[lost] = part.totals([part.rows(squares)])[lost, 0]


def settle_chunk(totals: Array, chunk: Chunk, vectors: Callable[[slice], Iterable[Array]]) -> None:
    """Settle the sums of all parts of a chunk. `vectors` returns the vectors of a part that were summed."""
    first = 0
    for part in chunk.parts:
        count = len(part.sizes)
        settle(totals[first : first + count], part, vectors(part.place))
        first += count


def squares(x: Array, chunk: Chunk) -> Array:
    """Return the sums of squares of a chunk, whose elements are `x`: [sums, 1]."""
    dtype = compute_dtype(x.dtype)
    wide, tmp = scratch(2, chunk.room, dtype)
    sums = []
    for part in chunk.parts:
        came = x[part.place]
        size = len(came)
        g = widened(came, wide[:size])
        np.multiply(g, g, out=tmp[:size])
        totals = part.totals([part.rows(tmp)])
        if not settled(totals, dtype):
            settle(totals, part, [came])
        sums.append(totals)
    return np.concatenate(sums)


@cache
def adds_as_defined() -> bool:
    """Return whether NumPy's `reduceat` adds rows in the defined order, as all known versions do. Tried once."""
    lengths = [*range(1, 26), ROW - 1, ROW]
    starts = np.cumsum([0, *lengths[:-1]])
    numbers = np.random.default_rng(0).standard_normal(sum(lengths))
    return all(
        np.array_equal(np.add.reduceat(x, starts), rows_by_hand(x, starts))
        for x in (numbers, numbers.astype(np.float32))
    )


def rows_by_hand(x: Array, starts: Array) -> Array:
    """Return the sums of rows, added one by one in the defined order."""
    ends = [*starts[1:], len(x)]
    return np.array([_row(x[start:end]) for start, end in zip(starts, ends, strict=True)], x.dtype)


def _row(x: Array) -> Any:
    """Return x₀ + R, with R the sum of the others: eight lanes, then the remainder."""
    whole = len(x[1:]) // 8 * 8
    lanes, left = x[1 : 1 + whole].reshape(-1, 8), x[1 + whole :]
    rest = x.dtype.type(0)
    if whole:
        a = lanes[0].copy()
        for lane in lanes[1:]:
            a += lane
        rest = ((a[0] + a[1]) + (a[2] + a[3])) + ((a[4] + a[5]) + (a[6] + a[7]))
    for number in left:
        rest = rest + number
    return x[0] + rest
