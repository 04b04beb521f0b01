"""The compute pool: small work runs at once, large work on threads, so the event loop never waits for it."""

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from os import cpu_count
from typing import Generic, TypeVar

from app.kernels import Kernels
from optim_engine import Config
from optim_engine.fused_forms import has_loop
from optim_engine.machine import NUMPY, Machine

T = TypeVar("T")

INLINE_BELOW = 1 << 16
"""Bytes: handing work to a thread and back takes about 100 µs, in which the engine goes through so many."""

TENSOR_BYTES = 512
"""The cost of a tensor without elements, in bytes of work."""

FUSED_FROM = 1 << 20
"""Bytes of arrays and state from which on the fused kernel saves a step a tenth of a millisecond. The first such step
of a rule and dtype loads it: that takes half a second and 150 MB, which a service of smaller steps does without."""


class _Call(Generic[T]):
    """A call on a thread of the pool, which holds a call a little longer than its caller waits for it.

    So it drops the work before that, and the result is handed over: a next step may already want to write over the
    memory of both, and does so only if nobody holds it.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self._work = [work]
        self._result: list[T] = []

    def __call__(self) -> None:
        self._result.append(self._work.pop()())

    def result(self) -> T:
        """Return the result, once."""
        return self._result.pop()


class Compute:
    """A pool of `threads` threads; 0 stands for one per processor.

    Steps are computed on the calling thread, and on idle threads of the pool.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads = threads or cpu_count() or 1
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="compute")
        self._under_way: set[Future[None]] = set()
        self.runs = 0
        """The number of starts and ends of work so far."""
        self.plain = Machine(NUMPY, threads, self._pool)
        """The machine for what has no kernel of its own."""
        self._kernels = Kernels()
        self._small = Machine(self._kernels.small, threads, self._pool)
        self._large = Machine(self._kernels.large, threads, self._pool)

    @property
    def calls(self) -> int:
        """Return the number of calls that a thread runs, or that wait for one."""
        return len(self._under_way)

    @property
    def kernel(self) -> str:
        """Return the name of the kernel for large steps."""
        return self._kernels.name

    def machine(self, nbytes: int, config: Config) -> Machine:
        """Return the machine for a step of so many bytes of arrays and state, by the rules of these settings."""
        return (
            self._large
            if nbytes >= FUSED_FROM and any(has_loop(kind.hyperparameters) for kind in config.kinds.values())
            else self._small
        )

    async def run(self, work: Callable[[], T], nbytes: int) -> T:
        """Return what `work` returns. `nbytes` is about the bytes it goes through, `TENSOR_BYTES` for each tensor."""
        return work() if nbytes < INLINE_BELOW else await self.run_apart(work)

    def run_apart(self, work: Callable[[], T]) -> Awaitable[T]:
        """Start `work` on a thread, for work of unknown size; return its result, to be awaited."""
        self.runs += 1
        call = _Call(work)
        future = self._pool.submit(call)
        self._under_way.add(future)
        future.add_done_callback(self._under_way.discard)
        return self._ended(call, asyncio.wrap_future(future))

    async def _ended(self, call: _Call[T], started: Awaitable[None]) -> T:
        try:
            await started
            return call.result()
        finally:
            del started  # it has the error, whose traceback has this frame: a circle would keep the work's request
            self.runs += 1

    def close(self) -> None:
        self._kernels.close()
        self._pool.shutdown()
