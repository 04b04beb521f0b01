"""What a step is computed on: a kernel, which updates one chunk, and threads, which share the chunks out.

Neither changes a bit of a result.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, wait
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from itertools import count
from typing import TypeVar

from optim_engine import walk
from optim_engine.arrays import CHUNK, Array
from optim_engine.sums import Chunk, squares
from optim_engine.walk import Update, Vectors

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Kernel:
    """The two functions that compute: `update` updates a chunk of a run and sums its squares, `squares` sums those of a
    vector. Every kernel gives the same bits."""

    name: str
    update: Callable[[Update, Vectors, Chunk], Array]
    squares: Callable[[Array, Chunk], Array]


NUMPY = Kernel("numpy", walk.update_blocks, squares)


@cache
def fastest() -> Kernel:
    """The fused kernel where numba can be imported, and is then ready to run; else NumPy's."""
    try:
        fused = import_module("optim_engine.fused")
    except ImportError:
        return NUMPY
    return Kernel("numba", fused.update_blocks, fused.squares)


@dataclass(frozen=True)
class Machine:
    """Up to `threads` threads, of which the caller is one and the others are those of the pool that have time."""

    kernel: Kernel = NUMPY
    threads: int = 1
    pool: Executor | None = None

    def map(self, work: Callable[[T], R], parts: Sequence[T], elements: int) -> list[R]:
        """What `work` returns of each part, in their order. `elements` is how many they all have together: a thread
        more for each chunk's worth, because to wake one takes as long as a small step.

        The caller does not wait for the pool to begin: it takes part after part itself, so that callers who are the
        pool's own threads cannot wait for each other. Raises what `work` raises, after all have stopped.
        """
        numbers = count()
        results: dict[int, R] = {}

        def take() -> None:
            while (i := next(numbers)) < len(parts):
                results[i] = work(parts[i])

        helpers = self._start(take, min(self.threads - 1, elements // CHUNK, len(parts) - 1))
        try:
            take()
        finally:
            started = [helper for helper in helpers if not helper.cancel()]
            wait(started)
        for helper in started:
            helper.result()
        return [results[i] for i in range(len(parts))]

    def _start(self, take: Callable[[], None], helpers: int) -> list["Future[None]"]:
        return [self.pool.submit(take) for _ in range(helpers)] if self.pool else []


ALONE = Machine()
"""The caller's thread, with NumPy."""
