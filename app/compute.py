"""The compute pool: small work runs at once, large work on threads, so the event loop never waits for it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from typing import TypeVar

from optim_engine.machine import Machine, fastest

T = TypeVar("T")

INLINE_BELOW = 1 << 16
"""Bytes: handing work to a thread and back takes about 100 µs, in which the engine goes through so many."""

TENSOR_BYTES = 512
"""The cost of a tensor without elements, in bytes of work."""


class Compute:
    """A pool of `threads` threads; 0 stands for one per processor.

    `machine` computes the steps: on the calling thread, and on idle threads of the pool.
    """

    def __init__(self, threads: int) -> None:
        threads = threads or cpu_count() or 1
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="compute")
        self.runs = 0
        """The number of starts and ends of work so far."""
        self.machine = Machine(fastest(), threads, self._pool)

    async def run(self, work: Callable[[], T], nbytes: int) -> T:
        """Return what `work` returns. `nbytes` is about the bytes it goes through, `TENSOR_BYTES` for each tensor."""
        return work() if nbytes < INLINE_BELOW else await self.run_apart(work)

    async def run_apart(self, work: Callable[[], T]) -> T:
        """Return what `work` returns, run on a thread: for work of unknown size."""
        self.runs += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self.runs += 1

    def close(self) -> None:
        self._pool.shutdown()
