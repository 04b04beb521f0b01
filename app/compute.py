"""Where arithmetic runs: small work at once, big work on threads of its own: the event loop never waits for it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from typing import TypeVar

from optim_engine.machine import Machine, fastest

T = TypeVar("T")

INLINE_BELOW = 1 << 16
"""Bytes: to hand work to a thread and back takes about 100 µs, as long as the engine takes for so many."""

TENSOR_BYTES = 512
"""What it takes to go through a tensor of no elements takes as long as so many bytes."""


class Compute:
    """A pool of `threads` threads; 0 takes one for each processor.

    `machine` is what a step is computed on: the thread that it runs on, and those of the pool that have nothing to do.
    """

    def __init__(self, threads: int) -> None:
        threads = threads or cpu_count() or 1
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="compute")
        self.runs = 0
        """Count of the starts and ends of work."""
        self.machine = Machine(fastest(), threads, self._pool)

    async def run(self, work: Callable[[], T], nbytes: int) -> T:
        """What `work` returns; `nbytes` is about how many bytes it goes through, a tensor's name and shape for
        `TENSOR_BYTES`."""
        return work() if nbytes < INLINE_BELOW else await self.run_apart(work)

    async def run_apart(self, work: Callable[[], T]) -> T:
        """The same of work that nobody knows the size of."""
        self.runs += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self.runs += 1

    def close(self) -> None:
        self._pool.shutdown()
