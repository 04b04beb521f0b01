"""Memory that is used again: a fresh 40 MB array costs more in page faults than the copy into it.

An array from `take` gives its memory back when the last view of it is gone. Nobody returns anything by hand, so nobody
can return what another still reads.
"""

import threading
import time
from collections import OrderedDict
from typing import Any

import numpy as np

from optim_engine.arrays import Array

ALIGNMENT = 64
SMALLEST_KEPT = 1 << 16


class Buffers:
    """Keeps up to `limit` bytes of memory that is not in use; what was used least recently goes first."""

    def __init__(self, limit: int = 1 << 30) -> None:
        self.limit = limit
        self._idle: OrderedDict[int, list[tuple[Array, float]]] = OrderedDict()
        """Memory by size, each with the time it was given back; the sizes that were used last stand last."""
        self._idle_bytes = 0
        self._lock = threading.Lock()

    def take(self, nbytes: int) -> Array:
        """A vector of `nbytes` bytes with whatever content, aligned to 64 bytes."""
        if nbytes < SMALLEST_KEPT:
            return np.empty(nbytes, np.uint8)
        size = _rounded(nbytes) + ALIGNMENT
        with self._lock:
            memory = self._pop(size) if size in self._idle else None
        return np.asarray(_Loan(self, np.empty(size, np.uint8) if memory is None else memory, nbytes))

    @property
    def idle_bytes(self) -> int:
        """How much memory is kept for the next to take it."""
        return self._idle_bytes

    def let_go(self, seconds: float) -> int:
        """Let go of memory that lies idle for so long; return how many bytes it had."""
        memories, until = list[Array](), time.monotonic() - seconds
        with self._lock:
            for size, idle in [*self._idle.items()]:
                while size in self._idle and idle[0][1] <= until:
                    memories.append(self._pop(size, 0))
        return sum(len(memory) for memory in memories)

    def give_back(self, memory: Array) -> None:
        """Called by the loan. A garbage collection inside of `take` may call it too, so it never waits for the lock:
        who finds it taken lets the memory go."""
        if len(memory) > self.limit or not self._lock.acquire(blocking=False):
            return
        try:
            self._idle.setdefault(len(memory), []).append((memory, time.monotonic()))
            self._idle.move_to_end(len(memory))
            self._idle_bytes += len(memory)
            while self._idle_bytes > self.limit:
                self._pop(next(iter(self._idle)))
        finally:
            self._lock.release()

    def _pop(self, size: int, which: int = -1) -> Array:
        memory, _ = self._idle[size].pop(which)
        if not self._idle[size]:
            del self._idle[size]
        self._idle_bytes -= size
        return memory


class _Loan:
    """What an array from `take` (and each view of it) keeps alive; its end is the end of the loan."""

    __slots__ = ("__array_interface__", "_memory", "_pool")

    def __init__(self, pool: Buffers, memory: Array, nbytes: int) -> None:
        self._pool = pool
        self._memory = memory
        address = memory.__array_interface__["data"][0]
        address += -address % ALIGNMENT
        self.__array_interface__: dict[str, Any] = {
            "shape": (nbytes,),
            "typestr": "|u1",
            "data": (address, False),
            "version": 3,
        }

    def __del__(self) -> None:
        self._pool.give_back(self._memory)


def _rounded(nbytes: int) -> int:
    """Up to an eighth more, so that sizes which differ little share their memory."""
    step = 1 << max(nbytes.bit_length() - 4, 0)
    return -(-nbytes // step) * step


BUFFERS = Buffers()
"""The process's own."""


def scratch(rows: int, size: int, dtype: np.dtype[Any]) -> Array:
    """That many vectors of that size, with whatever content."""
    return BUFFERS.take(rows * size * dtype.itemsize).view(dtype).reshape(rows, size)
