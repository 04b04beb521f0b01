"""The plan of an aggregation: which bytes of which contributions become which elements of the gradient.

Tensors that all contributions have side by side are one segment, so ten thousand small ones are one vector. A segment
is cut into blocks where pieces end. Knows no store, and reads nothing by itself.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from app.contributions.stored_gradients import Sent, Stored
from app.contributions.windows import Contents
from app.expansion import FLOAT32, SCALED, scaled
from app.store.piece import PIECE_BYTES, Piece
from app.wire.safetensors_header import INT8, Place
from optim_engine import Layout
from optim_engine.aggregate import Part
from optim_engine.arrays import Array, compute_dtype
from optim_engine.unscaled import unscaled

BLOCK = 1 << 18
"""The most elements of a block. 1 MiB of float32."""

Sents: TypeAlias = Sequence[Sent | None]
"""A tensor of each contribution, `None` where it does not name it."""


class Block(NamedTuple):
    """Elements of a segment, from `start` to `stop`; `number` counts its blocks from 0."""

    number: int
    start: int
    stop: int


@dataclass(eq=False)
class Source:
    """A contribution's part of a segment.

    With `ids` it is of some rows of `width` elements, or of single elements, and not of all. `firsts` has, for each
    block and the end, how many of the ids are before it.
    """

    stored: Stored
    sent: Sent
    width: int = 1
    firsts: Array = field(default_factory=lambda: np.zeros((), np.int64))

    @property
    def ids(self) -> Place | None:
        """Return the place of the indices of its rows, or of its elements."""
        return self.sent.rows or self.sent.at

    def pieces(self, block: Block) -> Iterator[Piece]:
        """Yield the pieces that `part` reads."""
        first, last = self._values(block)
        if first < last:
            for place, start, end in self._ranges(block, first, last):
                size = place.dtype.itemsize
                yield from self.stored.touched(place.start + start * size, place.start + end * size)

    def part(self, block: Block, rows: Array | None, contents: Contents) -> Part | None:
        """Return what the contribution has of the block, divided by its `grad_scale`; `None` if it has nothing.

        `rows` are those that the segment has, if not all.
        """
        first, last = self._values(block)
        if first == last:
            return None
        values, *beside = [self._read(*found, contents) for found in self._ranges(block, first, last)]
        if self.sent.scale is not None:
            values = scaled(values, beside[-1])[first - last :]
        if self.stored.grad_scale != 1.0:
            values = unscaled({"": values}, self.stored.grad_scale)[""]
        if self.ids is None or (rows is not None and last - first == block.stop - block.start):
            return Part(values)
        places = beside[0] if rows is None else np.searchsorted(rows, beside[0])
        return Part(values, places - block.start // self.width, self.width)

    def _values(self, block: Block) -> tuple[int, int]:
        """Return the first and the last of its values that are in the block."""
        if self.ids is None:
            return block.start, block.stop
        first, last = self.firsts[block.number : block.number + 2].tolist()
        return first * self.width, last * self.width

    def _ranges(self, block: Block, first: int, last: int) -> Iterator[tuple[Place, int, int]]:
        """Yield what is read: of the values, of the indices and of the scales, each from one element to another.

        Where there are several scales, the values begin with a block of them.
        """
        grads, scale = self.sent.grads, self.sent.scale
        several = scale is not None and prod(scale.shape) > 1
        yield grads, first - first % SCALED if several else first, last
        if self.ids is not None:
            yield self.ids, first // self.width, last // self.width
        if scale is not None:
            yield (scale, first // SCALED, -(-last // SCALED)) if several else (scale, 0, 1)

    def _read(self, place: Place, start: int, end: int, contents: Contents) -> Array:
        size = place.dtype.itemsize
        return self.stored.vector(contents, place.dtype, place.start + start * size, place.start + end * size)


class Tensor(NamedTuple):
    """A tensor of the gradient, and the dtype that it stands for: that in which all came, or the session's."""

    name: str
    shape: tuple[int, ...]
    came: np.dtype[Any]


@dataclass(eq=False)
class Segment:
    """Tensors that are aggregated as one vector. `sources` has each contribution's part, `None` where it has none.

    With `is_union` the vector has the rows that any of them names, which are `rows` once they are known.
    """

    tensors: list[Tensor]
    dtype: np.dtype[Any]
    sources: list[Source | None]
    is_union: bool = False
    rows: Array | None = None

    @property
    def width(self) -> int:
        """Return the elements of a row; each block has whole rows."""
        return max([source.width for source in self.sources if source], default=1)

    @property
    def size(self) -> int:
        """Return the number of elements."""
        if self.rows is None:
            return sum(prod(tensor.shape) for tensor in self.tensors)
        return len(self.rows) * self.width

    @property
    def indexed(self) -> list[Source]:
        """Return the sources with indices."""
        return [source for source in self.sources if source and source.ids]

    def blocks(self, most: int) -> list[Block]:
        """Return the blocks, of `most` elements where rows are not longer. The first ends where a piece ends, so that
        the next ones read no piece twice."""
        size, step = self.size, max(most // max(self.width, 1), 1) * self.width
        if not size:
            return []
        grads = next(source.sent.grads for source in self.sources if source)
        left = (PIECE_BYTES - grads.start % PIECE_BYTES) // grads.dtype.itemsize
        first = (left % step or step) if self.width == 1 else step
        bounds = sorted({0, size, *range(first, size, step)})
        return [Block(i, start, stop) for i, (start, stop) in enumerate(pairwise(bounds))]

    def locate(self, blocks: Sequence[Block], source: Source, ids: Array) -> None:
        """Count some of a source's ids in its `firsts`."""
        bounds = np.array([*(block.start for block in blocks), self.size]) // source.width
        if self.rows is not None:
            last = self.rows[-1] + 1 if len(self.rows) else 0
            bounds = np.append(self.rows, last)[bounds]
        source.firsts = source.firsts + np.searchsorted(ids, bounds)


def segments_of(stored: Sequence[Stored], layout: Layout) -> list[Segment]:
    """Return the segments of the contributions' tensors, which fit the layout."""
    tables = _tables(stored)
    kinds = sorted({id(table): i for i, table in enumerate(tables)}.values())  # one contribution of each kind of table
    found, before = list[Segment](), list[Sent | None]()
    for name in dict.fromkeys(name for i in kinds for name in tables[i]):
        of_kinds = [tables[i].get(name) for i in kinds]
        tensor = Tensor(name, layout.entries[name].spec.shape, _came(of_kinds, layout, name))
        if before and found[-1].dtype == compute_dtype(tensor.came) and _follow(before, of_kinds):
            found[-1].tensors.append(tensor)
        else:
            found.append(_segment(tensor, stored, [table.get(name) for table in tables]))
        before = of_kinds
    return found


def _tables(stored: Sequence[Stored]) -> list[Mapping[str, Sent]]:
    """Return the tensors of each contribution; the same table for those with the same header."""
    known = list[tuple[Any, Mapping[str, Sent]]]()
    tables = list[Mapping[str, Sent]]()
    for body in stored:
        runs = body.header.runs
        table = next((table for other, table in known if other is runs or other == runs), None)
        if table is None:
            table = body.sent()
            known.append((runs, table))
        tables.append(table)
    return tables


def _came(sents: Sents, layout: Layout, name: str) -> np.dtype[Any]:
    came = {FLOAT32 if sent.grads.dtype == INT8 else sent.grads.dtype for sent in sents if sent is not None}
    return came.pop() if len(came) == 1 else layout.entries[name].spec.dtype


def _follow(before: Sents, sents: Sents) -> bool:
    """Return whether each contribution has one tensor directly after the other, or neither."""
    return all(map(_follows, before, sents))


def _follows(one: Sent | None, two: Sent | None) -> bool:
    if one is None or two is None:
        return one is two
    alike = one.is_plain and two.is_plain and one.grads.dtype == two.grads.dtype
    return alike and one.grads.end == two.grads.start


def _segment(tensor: Tensor, stored: Sequence[Stored], sents: Sents) -> Segment:
    width = prod(tensor.shape[1:])
    sources = [
        None if sent is None else Source(body, sent, width if sent.rows else 1)
        for body, sent in zip(stored, sents, strict=True)
    ]
    is_union = all(sent is None or sent.rows is not None for sent in sents)
    return Segment([tensor], compute_dtype(tensor.came), sources, is_union)
