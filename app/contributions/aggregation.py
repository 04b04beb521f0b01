"""The aggregation of a round: the gradients of all its contributions become one, as they are read from the store.

Memory does not grow with the number of workers: it is two windows of pieces, the scratch of each thread, and the
gradient. A median or trimmed mean of more than 32 workers holds at most `MATRIX_BYTES` of sorted values besides, and
then reads a piece more than once.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import accumulate, chain
from math import prod
from typing import Any, NamedTuple

import numpy as np

from app.compute import TENSOR_BYTES, Compute
from app.contributions.aggregation_plan import BLOCK, Block, Segment, Source, segments_of
from app.contributions.stored_gradients import Stored, header_pieces
from app.contributions.windows import WINDOW_BYTES, Contents, Read, Task, Windows
from app.store.piece import PIECE_BYTES, Piece
from app.wire.contributions import start_of
from optim_engine import Layout
from optim_engine.aggregate import Aggregate, Collect, Collected
from optim_engine.arrays import Array, Arrays
from optim_engine.buffers import ALIGNMENT, BUFFERS

MATRIX_BYTES = 64 << 20
"""The most bytes of values that are sorted at a time, of more workers than a window has pieces."""
SORTED_BLOCK = 1 << 16
"""The elements of a block whose values are sorted: those of several workers stay in the cache."""


class Weighed(NamedTuple):
    """A contribution that is to be part of the round: the pieces of its body, and what stands beside it."""

    worker: str
    pieces: Sequence[Piece]
    weight: float = 1.0
    norm: float = 0.0


class Aggregated(NamedTuple):
    """The gradient of a round, in the compute dtype, as `StepRequest` has it: `StepRequest(once=once, **it._asdict())`.

    `rows` has the rows of the tensors of which no worker has sent more; `dtypes` what the gradients stand for.
    """

    grads: Arrays
    rows: Arrays
    dtypes: Mapping[str, np.dtype[Any]]


async def aggregated(
    aggregate: Aggregate, contributions: Iterable[Weighed], layout: Layout, read: Read, compute: Compute
) -> Aggregated:
    """Return the aggregate of at least one contribution, in the order of their workers' names by UTF-8 bytes.

    They fit the session's layout, as `examine` of the engine has found when they came. Raises what `read` raises.

        read = partial(store.contents, ledger)
        found = await aggregated(Aggregate("mean"), contributions, session.layout, read, compute)
        request = StepRequest(once=once, step=number, **found._asdict())
    """
    ordered = sorted(contributions, key=lambda contribution: contribution.worker.encode())
    windows = Windows(read, compute)
    stored = await _stored([contribution.pieces for contribution in ordered], windows)
    segments = await compute.run(partial(segments_of, stored, layout), TENSOR_BYTES * _tensors(stored))
    most = _most_elements(aggregate, len(ordered))
    await _locate(segments, most, layout, windows)
    collect = aggregate.of([one.weight for one in ordered], [one.norm for one in ordered])
    vectors = _vectors(segments)
    parts = zip(segments, vectors, strict=True)
    tasks = chain.from_iterable(_tasks(segment, most, collect, out) for segment, out in parts)
    await windows.through(tasks, compute.plain, TENSOR_BYTES * len(segments) * len(ordered))
    return _named(segments, vectors)


async def _stored(bodies: Sequence[Sequence[Piece]], windows: Windows) -> list[Stored]:
    """Return the bodies with their headers. If all are a window together, they are read at once, and held."""
    if sum(piece.size for pieces in bodies for piece in pieces) <= WINDOW_BYTES:
        windows.held = await windows.of(chain.from_iterable(bodies))
    found = list[Stored]()
    for start in range(0, len(bodies), WINDOW_BYTES // PIECE_BYTES):
        group = bodies[start : start + WINDOW_BYTES // PIECE_BYTES]
        contents = await windows.of(pieces[0] for pieces in group)
        firsts = [contents[pieces[0].name] for pieces in group]
        more = [header_pieces(pieces, first) for pieces, first in zip(group, firsts, strict=True)]
        if any(len(pieces) > 1 for pieces in more):
            contents = await windows.of(chain.from_iterable(more))
        found += await windows.compute.run(partial(_headers, group, contents), sum(map(start_of, firsts)))
    return found


def _headers(bodies: Sequence[Sequence[Piece]], contents: Contents) -> list[Stored]:
    return [Stored.read(pieces, contents) for pieces in bodies]


def _tensors(stored: Sequence[Stored]) -> int:
    return sum(len(run.tensors) for body in stored for run in body.header.runs)


def _most_elements(aggregate: Aggregate, count: int) -> int:
    """Return the most elements of a block."""
    if aggregate.takes_weights:
        return BLOCK
    return SORTED_BLOCK if count * PIECE_BYTES <= WINDOW_BYTES else max(MATRIX_BYTES // (8 * count), 1)


async def _locate(segments: Sequence[Segment], most: int, layout: Layout, windows: Windows) -> None:
    """Find where in their segments the sources with indices lie, and the rows of those that are a union."""
    indexed = [segment for segment in segments if segment.indexed]
    unions = [(segment, np.zeros(_height(segment, layout), np.bool_)) for segment in indexed if segment.is_union]
    await windows.through(
        task for segment, named in unions for source in segment.indexed for task in _ids(source, partial(_mark, named))
    )
    for segment, named in unions:
        segment.rows = np.flatnonzero(named)
    await windows.through(
        task
        for segment in indexed
        for blocks in [segment.blocks(most)]
        for source in segment.indexed
        for task in _ids(source, partial(segment.locate, blocks, source))
    )


def _height(segment: Segment, layout: Layout) -> int:
    return layout.entries[segment.tensors[0].name].spec.shape[0]


def _mark(named: Array, ids: Array) -> None:
    named[ids] = True


def _ids(source: Source, work: Callable[[Array], None]) -> Iterator[Task]:
    """Yield the tasks that do the work with each part of a source's indices."""
    if (place := source.ids) is None:
        return
    for start in range(place.start, max(place.end, place.start + 1), PIECE_BYTES):
        end = min(start + PIECE_BYTES, place.end)
        read = partial(source.stored.vector, dtype=place.dtype, start=start, end=end)
        pieces = source.stored.touched(start, end)
        yield Task(pieces, partial(_with, work, read), (end - start) // place.dtype.itemsize)


def _with(work: Callable[[Array], None], read: Callable[[Contents], Array], contents: Contents) -> None:
    work(read(contents))


def _tasks(segment: Segment, most: int, collect: Collect, out: Array) -> Iterator[Task]:
    """Yield the tasks of a segment: one for each block, or, if its contributions are no window together, several."""
    for block in segment.blocks(most):
        pieces = [[*source.pieces(block)] if source else [] for source in segment.sources]
        begun = list[Collected]()
        for first, last in _groups(pieces):
            work = partial(_add, segment, block, collect, begun, (first, last), out[block.start : block.stop])
            yield Task([*chain.from_iterable(pieces[first:last])], work, (block.stop - block.start) * (last - first))


def _groups(pieces: Sequence[Sequence[Piece]]) -> Iterator[tuple[int, int]]:
    """Yield the first and last of consecutive contributions whose pieces are a window together."""
    first, nbytes = 0, 0
    for i, own in enumerate(pieces):
        size = sum(piece.size for piece in own)
        if i > first and nbytes + size > WINDOW_BYTES:
            yield first, i
            first, nbytes = i, 0
        nbytes += size
    yield first, len(pieces)


def _add(
    segment: Segment,
    block: Block,
    collect: Collect,
    begun: list[Collected],
    group: tuple[int, int],
    out: Array,
    contents: Contents,
) -> None:
    """Add a group of contributions to the chunk of a block, and write it after the last one."""
    if not begun:
        begun.append(collect(out.size, segment.dtype))
    for source in segment.sources[slice(*group)]:
        begun[0].add(None if source is None else source.part(block, segment.rows, contents))
    if group[1] == len(segment.sources):
        begun.pop().write(out)


def _vectors(segments: Sequence[Segment]) -> list[Array]:
    """Return a vector for each segment, all in one memory."""
    sizes = [segment.size * segment.dtype.itemsize for segment in segments]
    starts = [*accumulate((size + -size % ALIGNMENT for size in sizes), initial=0)]
    memory = BUFFERS.take(starts[-1])
    return [
        memory[start : start + size].view(segment.dtype)
        for segment, start, size in zip(segments, starts, sizes, strict=False)
    ]


def _named(segments: Sequence[Segment], vectors: Sequence[Array]) -> Aggregated:
    """Return the tensors of the segments, in the order of their names."""
    found = dict[str, Array]()
    for segment, vector in zip(segments, vectors, strict=True):
        end = 0
        for name, shape, _ in segment.tensors:
            whole = shape if segment.rows is None else (len(segment.rows), *shape[1:])
            start, end = end, end + prod(whole)
            found[name] = vector[start:end].reshape(whole)
    rows = {segment.tensors[0].name: segment.rows for segment in segments if segment.rows is not None}
    dtypes = {tensor.name: tensor.came for segment in segments for tensor in segment.tensors}
    return Aggregated({name: found[name] for name in sorted(found)}, rows, dtypes)
