"""Where arithmetic runs: small work at once, big work on threads of its own: the event loop never waits for it."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from os import cpu_count
from typing import TypeVar

T = TypeVar("T")

INLINE_BELOW = 1 << 16
"""Bytes: to hand work to a thread and back takes about 100 µs, as long as the engine takes for so many."""


class Compute:
    """A pool of `threads` threads; 0 takes one for each processor."""

    def __init__(self, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads or cpu_count() or 1, thread_name_prefix="compute")

    async def run(self, work: Callable[[], T], nbytes: int) -> T:
        """What `work` returns; `nbytes` is about how many bytes it goes through."""
        if nbytes < INLINE_BELOW:
            return work()
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    def close(self) -> None:
        self._pool.shutdown()
