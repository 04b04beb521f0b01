"""Memory that is used again: a fresh 40 MB array costs more in page faults than the copy into it.

An array from `take` gives its memory back when the last view of it is gone. Nobody returns anything by hand, so nobody
can return what another still reads.
"""

import threading
from collections import OrderedDict
from typing import Any

import numpy as np

from optim_engine.arrays import Array

ALIGNMENT = 64
SMALLEST_KEPT = 1 << 16


class Buffers:
    """Keeps up to `limit` bytes of memory that is not in use."""

    def __init__(self, limit: int = 1 << 30) -> None:
        self._limit = limit
        self._idle: OrderedDict[int, Array] = OrderedDict()
        self._idle_bytes = 0
        self._lock = threading.RLock()
        """Reentrant: a collection inside of `take` may give memory back on the same thread."""

    def take(self, nbytes: int) -> Array:
        """A vector of `nbytes` bytes with whatever content, aligned to 64 bytes."""
        if nbytes < SMALLEST_KEPT:
            return np.empty(nbytes, np.uint8)
        return np.asarray(_Loan(self, self._find(nbytes), nbytes))

    def _find(self, nbytes: int) -> Array:
        """The smallest idle memory that is not more than twice too large, else new memory."""
        with self._lock:
            fitting = [(len(m), key) for key, m in self._idle.items() if nbytes <= len(m) - ALIGNMENT <= 2 * nbytes]
            if fitting:
                memory = self._idle.pop(min(fitting)[1])
                self._idle_bytes -= len(memory)
                return memory
        return np.empty(nbytes + ALIGNMENT, np.uint8)

    def _give_back(self, memory: Array) -> None:
        with self._lock:
            self._idle[id(memory)] = memory
            self._idle_bytes += len(memory)
            while self._idle_bytes > self._limit:
                self._idle_bytes -= len(self._idle.popitem(last=False)[1])


class _Loan:
    """What an array from `take` (and each view of it) keeps alive; its end is the end of the loan."""

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
        self._pool._give_back(self._memory)


BUFFERS = Buffers()
"""The process's own."""
