"""The machine of a step: a kernel that updates one chunk, and threads that divide the chunks among them.

Neither changes a bit of a result.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, wait
from contextvars import copy_context
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import TypeVar

from optim_engine import walk
from optim_engine.arrays import CHUNK, Array
from optim_engine.fused_forms import Loop
from optim_engine.sums import Chunk, squares
from optim_engine.walk import Update, Vectors

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Kernel:
    """The two functions that compute: `update` updates a chunk of a run and returns its sums of squares, `squares`
    returns the sums of a vector's squares. Every kernel gives the same bits."""

    name: str
    update: Callable[[Update, Vectors, Chunk], Array]
    squares: Callable[[Array, Chunk], Array]


NUMPY = Kernel("numpy", walk.update_blocks, squares)


def installed() -> str:
    """Return the name of the fastest kernel that is installed, without loading it."""
    return "numba" if find_spec("numba") else NUMPY.name


@cache
def fused() -> Kernel:
    """Return the fused kernel, which takes half a second and 150 MB. Raises `ImportError` if numba cannot be imported.

    It loads each of its loops when a step needs it, which takes some seconds if numba's cache does not have the loop.
    """
    module = import_module("optim_engine.fused")
    return Kernel("numba", module.update_blocks, module.squares)


def load(loop: Loop, *, compiles: bool = True) -> bool:
    """Load a loop of the fused kernel from numba's cache, or compile it. Return False if neither may be."""
    return import_module("optim_engine.fused_kernels").load(*loop, compiles=compiles) is not None


def cache_folder() -> Path | None:
    """Return the folder that numba keeps compiled loops in; `None` where it can write to none."""
    folder: Path | None = import_module("optim_engine.fused_cache").writable_folder()
    return folder


def fastest() -> Kernel:
    """Return the fused kernel if numba can be imported; otherwise NumPy's."""
    try:
        return fused()
    except ImportError:
        return NUMPY


@dataclass(frozen=True)
class Machine:
    """A kernel with up to `threads` threads: the caller's, and idle ones of the pool."""

    kernel: Kernel = NUMPY
    threads: int = 1
    pool: Executor | None = None

    def blocks(self, elements: int) -> int:
        """Return how many blocks of a tensor are computed at a time, where nobody waits for each: a call of the kernel
        takes as long as a twentieth of a block, and threads should end together."""
        parts = 8 * self.threads if self.threads > 1 else 1
        return max(1, elements // (CHUNK * parts))

    def map(self, work: Callable[[T], R], parts: Sequence[T], elements: int) -> list[R]:
        """Return the results of `work` for the parts, in order.

        `elements` is the number of elements of all parts together. Each chunk's worth of them is given one more
        thread, because waking one takes as long as a small step. All threads have the caller's context, which is where
        NumPy keeps how it treats floating-point errors.

        The caller takes parts at once and never waits for the pool to start, so callers on the pool's own threads
        cannot deadlock. Raises what `work` raises, after all threads have stopped.
        """
        threads = min(self.threads - 1, elements // CHUNK, len(parts) - 1) if self.pool else 0
        if threads < 1 or not self.pool:
            return [work(part) for part in parts]
        numbers = count()
        results: dict[int, R] = {}

        def take() -> None:
            while (i := next(numbers)) < len(parts):
                results[i] = work(parts[i])

        helpers = [self.pool.submit(copy_context().run, take) for _ in range(threads)]
        try:
            take()
        finally:
            started = [helper for helper in helpers if not helper.cancel()]
            wait(started)
        for helper in started:
            helper.result()
        return [results[i] for i in range(len(parts))]


ALONE = Machine()
"""The machine that uses only the caller's thread and NumPy."""
