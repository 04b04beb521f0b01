"""A buffer pool: fresh memory for a large answer costs more, in page faults, than copying its bytes.

An array never changes under its owner: a buffer returns to the pool when the last view of it is collected.
"""

import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optim_client import _fork

SMALLEST_KEPT_BYTES = 1 << 16
MOST_KEPT_BYTES = 1 << 29

Memory = NDArray[np.uint8]


class Buffers:
    """A pool that keeps up to `limit` unused bytes, and frees the oldest first. For many threads."""

    def __init__(self, limit: int = MOST_KEPT_BYTES) -> None:
        self._limit = limit
        self._idle: list[Memory] = []
        self._lock = threading.Lock()
        _fork.follow(self)

    def after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may hold. The memory is the child's own already."""
        self._lock = threading.Lock()

    def take(self, nbytes: int) -> Memory:
        """Return `nbytes` bytes of undefined content."""
        if nbytes < SMALLEST_KEPT_BYTES:
            return np.empty(nbytes, np.uint8)
        return np.asarray(_Loan(self, self._fitting(nbytes), nbytes))

    def give_back(self, memory: Memory) -> None:
        """Return memory to the pool at the end of its loan, or free it where the lock is taken.

        It never waits for the lock: a garbage collection inside of `take` may call it.
        """
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._idle.append(memory)
            while sum(map(len, self._idle)) > self._limit:
                del self._idle[0]
        finally:
            self._lock.release()

    def _fitting(self, nbytes: int) -> Memory:
        """Return an unused buffer of about that size, or a new one, an eighth larger: answers differ by some bytes."""
        most = nbytes + nbytes // 4
        with self._lock:
            for place, memory in enumerate(self._idle):
                if nbytes <= len(memory) <= most:
                    return self._idle.pop(place)
        return np.empty(nbytes + nbytes // 8, np.uint8)


class _Loan:
    """The owner that each view of the memory keeps alive: its end returns the memory to the pool."""

    __slots__ = ("__array_interface__", "_buffers", "_memory")

    def __init__(self, buffers: Buffers, memory: Memory, nbytes: int) -> None:
        self._buffers = buffers
        self._memory = memory
        self.__array_interface__: dict[str, Any] = {**memory.__array_interface__, "shape": (nbytes,)}

    def __del__(self) -> None:
        self._buffers.give_back(self._memory)
