"""Windows of pieces: a bounded number of bytes is read from a store, and the next ones while these are worked on.

Knows nothing of what the bytes mean.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import NamedTuple, TypeAlias

from app.compute import Compute
from app.store.piece import PIECE_BYTES, Piece
from optim_engine.machine import ALONE, Machine

WINDOW_BYTES = 32 * PIECE_BYTES
"""The bytes of pieces that are read together."""

Contents: TypeAlias = Mapping[str, memoryview]
"""The bytes of some pieces, by name."""
Read: TypeAlias = Callable[[Sequence[Piece]], Awaitable[Sequence[memoryview]]]
"""The reading of some pieces: `Store.contents` of a ledger."""


class Task(NamedTuple):
    """Work on the content of some pieces, which goes through so many elements."""

    pieces: Sequence[Piece]
    work: Callable[[Contents], None]
    elements: int


class Windows:
    """The reading of pieces for work on the compute pool. Those that are held are not read again."""

    def __init__(self, read: Read, compute: Compute) -> None:
        self._read = read
        self.compute = compute
        self.held: Contents = {}

    async def of(self, pieces: Iterable[Piece]) -> Contents:
        """Return the bytes of the pieces by name."""
        missing = {piece.name: piece for piece in pieces if piece.name not in self.held}
        if not missing:
            return self.held
        read = await self._read([*missing.values()])
        return {**self.held, **dict(zip(missing, read, strict=True))}

    async def through(self, tasks: Iterable[Task], machine: Machine = ALONE, planning: int = 0) -> None:
        """Do the tasks in order of their windows; those of one window at once, on the machine's threads.

        `planning` is the work of making the tasks, as `Compute.run` counts it.
        """
        plan = partial(next, _windows(tasks), None)
        window = await self.compute.run(plan, planning)
        coming = self._coming(window)
        try:
            while window is not None and coming is not None:
                contents, now = await coming, window
                window = await self.compute.run(plan, planning)
                coming = self._coming(window)
                elements = sum(task.elements for task in now)
                await self.compute.run(partial(_do, now, contents, machine, elements), 8 * elements)
        finally:
            if coming is not None:
                coming.cancel()

    def _coming(self, window: Sequence[Task] | None) -> asyncio.Task[Contents] | None:
        """Begin to read what a window needs."""
        if window is None:
            return None
        return asyncio.ensure_future(self.of(chain.from_iterable(task.pieces for task in window)))


def _do(tasks: Sequence[Task], contents: Contents, machine: Machine, elements: int) -> None:
    machine.map(lambda task: task.work(contents), tasks, elements)


def _windows(tasks: Iterable[Task]) -> Iterator[list[Task]]:
    """Yield the tasks in groups whose pieces are a window together; a task with more is a group of its own."""
    window, names, nbytes = list[Task](), set[str](), 0
    for task in tasks:
        fresh = {piece.name: piece.size for piece in task.pieces if piece.name not in names}
        if window and nbytes + sum(fresh.values()) > WINDOW_BYTES:
            yield window
            window, names, nbytes = [], set(), 0
            fresh = {piece.name: piece.size for piece in task.pieces}
        window.append(task)
        names |= fresh.keys()
        nbytes += sum(fresh.values())
    if window:
        yield window
