"""Sums of squares, tensor by tensor, in one order on every machine.

docs/numerics.md ("Sums of squares") has the definition: rows of a few elements are summed in the dtype of the
arithmetic, and rows in float64. Only additions and multiplications of whole arrays are asked of NumPy, because each of
those has one result; of its own orders of summing the one that is used is tried first.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from math import inf
from typing import Any, Protocol

import numpy as np

from optim_engine import arrays
from optim_engine.arrays import Array, compute_dtype, cut, widened
from optim_engine.buffers import scratch

SMALL = 1 << 15
"""Elements: a smaller tensor is summed in rows of neighbours, the others in blocks of tiles."""
ROW = 128
LANES = 512
DEPTH = 32
TILE = DEPTH * LANES
FEWER = 16
"""What the lanes of a block come together to."""
TRUSTED = 2.0**-100
"""Below this, a sum of squares in float32 may have lost what became zero: then the squares are taken in float64."""


class Part(Protocol):
    """A part of a run, and how its squares are summed: some whole small tensors, or a block of a large one."""

    @property
    def place(self) -> slice:
        """In the chunk."""

    @property
    def sizes(self) -> Sequence[int]:
        """The elements of each of the tensors, or of the block: of each there is a sum."""

    @property
    def tensors(self) -> slice:
        """Which of the run's tensors it has, or has a block of."""

    def rows(self, squares: Array) -> Array:
        """The sums of the short rows, in the dtype of the squares, which have room behind them."""

    def totals(self, rows: Sequence[Array]) -> Array:
        """The sums of the rows of some vectors in float64, of each small tensor or of the block: [sums, vectors]."""


def room(size: int) -> int:
    """The elements that the squares of so many need: whole rows of lanes."""
    return -(-size // LANES) * LANES


@dataclass(frozen=True, eq=False)
class Block:
    """A block of a large tensor. Element i is in lane i mod 512; a tile is 32 rows of lanes."""

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
    """Some small tensors, one after the other. Their rows are neighbours, 128 or what is left of the tensor."""

    place: slice
    sizes: Sequence[int]
    first: int = 0
    """Which of the run's tensors the first one is."""

    @property
    def tensors(self) -> slice:
        return slice(self.first, self.first + len(self.sizes))

    @cached_property
    def _rows(self) -> tuple[Array, Array | None]:
        """Return where each row starts, and the tensor that it is of; no tensors where each is one row."""
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
        _, tensors = self._rows
        sums = np.empty((len(self.sizes), len(rows)))
        for i, row in enumerate(rows):
            sums[:, i] = row if tensors is None else np.bincount(tensors, row, len(self.sizes))
        return sums


@dataclass(frozen=True, eq=False)
class Chunk:
    """The part of a run that a thread takes at a time: some blocks of a large tensor, or all of a run of small ones."""

    place: slice
    """In the run."""
    parts: Sequence[Part]
    """Of the chunk."""

    @cached_property
    def room(self) -> int:
        """The room that the largest part needs."""
        return room(max(part.place.stop - part.place.start for part in self.parts))

    @property
    def small(self) -> bool:
        return isinstance(self.parts[0], Tensors)

    @cached_property
    def ends(self) -> Array:
        """The ends of all that has a sum of its own: each small tensor, or each block."""
        return np.cumsum([size for part in self.parts for size in part.sizes], dtype=np.int64)


def chunks_of(sizes: Sequence[int]) -> list[Chunk]:
    """Return the chunks of a run of tensors that have so many elements: one large tensor, or small ones."""
    if len(sizes) == 1 and sizes[0] >= SMALL:
        return [Chunk(place, _blocks(place.stop - place.start)) for place in cut(sizes[0], arrays.CHUNK)]
    return [Chunk(slice(0, sum(sizes)), list(_together(sizes)))]


def whole_chunk(size: int) -> list[Chunk]:
    """Return the one chunk of a tensor that is computed as a whole."""
    return [Chunk(slice(0, size), _blocks(size) if size >= SMALL else [Tensors(slice(0, size), [size])])]


def _blocks(size: int) -> list[Block]:
    return [Block(part) for part in cut(size, arrays.BLOCK)]


def _together(sizes: Sequence[int]) -> Iterator[Tensors]:
    """Yield as many whole tensors at a time as a block holds, but at least one."""
    first = start = end = 0
    for tensor, size in enumerate(sizes):
        if end > start and end + size - start > arrays.BLOCK:
            yield Tensors(slice(start, end), sizes[first:tensor], first)
            first, start = tensor, end
        end += size
    yield Tensors(slice(start, end), sizes[first:], first)


def in_order(sums: Array) -> Array:
    """The sums of each column, from the first row to the last: [1, columns]. NumPy says of `accumulate` that it adds
    one after the other; of Python's own `sum` each version has another result."""
    return np.add.accumulate(sums, axis=0)[-1:] if len(sums) else np.zeros((1, *sums.shape[1:]))


def settled(totals: Array, dtype: np.dtype[Any]) -> bool:
    """Whether sums of squares are finite, and in float32 in the range that keeps all squares."""
    least = TRUSTED if dtype == np.float32 else 0.0
    if len(totals) == 1:
        return all(least <= total < inf for total in totals[0].tolist())
    return bool(totals.min(initial=inf) >= least and totals.max(initial=0) < inf)


def settle(totals: Array, part: Part, vectors: Iterable[Array]) -> None:
    """Take the squares in float64, where those in float32 leave that range; float64 vectors have no other."""
    for total, x in zip(totals.T, vectors, strict=True):
        lost = ~((total >= TRUSTED) & (total < inf))
        if lost.any() and x.dtype != np.float64:
            squares = np.zeros(room(len(x)))
            squares[: len(x)] = x
            np.multiply(squares, squares, out=squares)
            total[lost] = part.totals([part.rows(squares)])[lost, 0]


def settle_chunk(totals: Array, chunk: Chunk, vectors: Callable[[slice], Iterable[Array]]) -> None:
    """Do the same for all parts of a chunk, of which `vectors` gives what was summed."""
    first = 0
    for part in chunk.parts:
        count = len(part.sizes)
        settle(totals[first : first + count], part, vectors(part.place))
        first += count


@np.errstate(all="ignore")
def squares(x: Array, chunk: Chunk) -> Array:
    """The sums of squares of a chunk, whose elements x has, one after the other: [sums, 1]."""
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
    """Say whether NumPy's `reduceat` adds rows in the defined order, as all versions that are known do: tried once."""
    lengths = [*range(1, 26), ROW - 1, ROW]
    starts = np.cumsum([0, *lengths[:-1]])
    numbers = np.random.default_rng(0).standard_normal(sum(lengths))
    return all(
        np.array_equal(np.add.reduceat(x, starts), rows_by_hand(x, starts))
        for x in (numbers, numbers.astype(np.float32))
    )


def rows_by_hand(x: Array, starts: Array) -> Array:
    """The sums of rows by additions that leave no choice."""
    ends = [*starts[1:], len(x)]
    return np.array([_row(x[start:end]) for start, end in zip(starts, ends, strict=True)], x.dtype)


def _row(x: Array) -> Any:
    """x₀ + (the others: eight lanes, then what is left)."""
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
