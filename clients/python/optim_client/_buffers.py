"""Memory that is used again: fresh memory for a large answer costs more, in page faults, than its bytes do.

An array never changes under its owner: the memory comes back when the last view of it is gone, by itself.
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
    """Keeps up to `limit` bytes that nobody uses; what came back first goes first. For many threads."""

    def __init__(self, limit: int = MOST_KEPT_BYTES) -> None:
        self._limit = limit
        self._idle: list[Memory] = []
        self._lock = threading.Lock()
        _fork.follow(self)

    def after_fork(self) -> None:
        """Take a lock that nobody holds; a child's memory is its own already."""
        self._lock = threading.Lock()

    def take(self, nbytes: int) -> Memory:
        """So many bytes, with whatever content."""
        if nbytes < SMALLEST_KEPT_BYTES:
            return np.empty(nbytes, np.uint8)
        return np.asarray(_Loan(self, self._fitting(nbytes), nbytes))

    def give_back(self, memory: Memory) -> None:
        """Called at a loan's end, which a garbage collection may bring inside of `take`: so it never waits for the
        lock, and lets the memory go where that is taken."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            self._idle.append(memory)
            while sum(map(len, self._idle)) > self._limit:
                del self._idle[0]
        finally:
            self._lock.release()

    def _fitting(self, nbytes: int) -> Memory:
        """An eighth is left over: the answers of one run differ by a few bytes."""
        most = nbytes + nbytes // 4
        with self._lock:
            for place, memory in enumerate(self._idle):
                if nbytes <= len(memory) <= most:
                    return self._idle.pop(place)
        return np.empty(nbytes + nbytes // 8, np.uint8)


class _Loan:
    """What each view of the memory keeps alive; its end is the end of the loan."""

    __slots__ = ("__array_interface__", "_buffers", "_memory")

    def __init__(self, buffers: Buffers, memory: Memory, nbytes: int) -> None:
        self._buffers = buffers
        self._memory = memory
        self.__array_interface__: dict[str, Any] = {**memory.__array_interface__, "shape": (nbytes,)}

    def __del__(self) -> None:
        self._buffers.give_back(self._memory)
