"""A buffer pool: a new 40 MB array costs more in page faults than the copy into it.

An array from `take` returns its memory to the pool when its last view is gone. Nothing is returned by hand, so memory
that is still being read cannot be returned.

For the same reason it is known exactly who views a memory. NumPy gives every view of a view the same base: the loan's
first array, which nobody else holds. So the references to that base are the arrays on the memory, and a memoryview
keeps the array that it was made of. A reader needs to announce nothing, and cannot be forgotten (`is_sole`).
"""

import sys
import threading
import time
from collections import OrderedDict
from typing import Any

import numpy as np

from optim_engine.arrays import Array

ALIGNMENT = 64
SMALLEST_KEPT = 1 << 16


class Buffers:
    """A pool that keeps up to `limit` bytes of idle memory, and drops the least recently used first."""

    def __init__(self, limit: int = 1 << 30) -> None:
        self.limit = limit
        self._idle: OrderedDict[int, list[tuple[Array, float]]] = OrderedDict()
        """Idle memory by size, each with the time of its return; the most recently used sizes are last."""
        self._idle_bytes = 0
        self._lock = threading.Lock()

    def take(self, nbytes: int) -> Array:
        """Return a vector of `nbytes` bytes (uint8) with arbitrary content; aligned to 64 bytes from 64 KiB on."""
        if nbytes < SMALLEST_KEPT:
            return np.empty(nbytes, np.uint8)
        size = _rounded(nbytes) + ALIGNMENT
        with self._lock:
            memory = self._pop(size) if size in self._idle else None
        return self._lend(np.empty(size, np.uint8) if memory is None else memory, nbytes)

    def take_zeros(self, nbytes: int) -> Array:
        """Return the same with zeros: fresh memory, which the system clears where it is first touched."""
        if nbytes < SMALLEST_KEPT:
            return np.zeros(nbytes, np.uint8)
        return self._lend(np.zeros(_rounded(nbytes) + ALIGNMENT, np.uint8), nbytes)

    def _lend(self, memory: Array, nbytes: int) -> Array:
        """Return a view of the loan's first array, which is then held by its views alone."""
        return np.asarray(_Loan(self, memory, nbytes))[:]

    @property
    def idle_bytes(self) -> int:
        """Return the number of idle bytes in the pool."""
        return self._idle_bytes

    def let_go(self, seconds: float) -> int:
        """Free the memory that has been idle for that many seconds; return the number of bytes."""
        memories, until = list[Array](), time.monotonic() - seconds
        with self._lock:
            for size, idle in [*self._idle.items()]:
                while size in self._idle and idle[0][1] <= until:
                    memories.append(self._pop(size, 0))
        return sum(len(memory) for memory in memories)

    def give_back(self, memory: Array) -> None:
        """Put memory back into the pool; called when its last view is gone.

        A garbage collection inside `take` may call this too, so it never waits for the lock: if the lock is taken, the
        memory is freed.
        """
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
    """A loan of memory: the array from `take` and each of its views keep it alive, and its end returns the memory."""

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


def is_sole(array: Array) -> bool:
    """Return whether no other array is on the memory of `array`. False for memory that is not lent by a pool.

    What is made of this very array without NumPy's knowledge, such as a memoryview, counts as the array itself: so hand
    out an array of its own (`array[:]`) to whoever may keep it.
    """
    return _is_lent(array) and _references(array) == _OF_ONE


def _is_lent(array: Array) -> bool:
    return isinstance(array.base, np.ndarray) and isinstance(array.base.base, _Loan)


def _references(array: Array) -> int:
    """Return the number of references to the array's base, this function's own among them."""
    return sys.getrefcount(array.base)


_OF_ONE = _references(np.empty(1)[:])
"""The count for a base with one view."""


def _rounded(nbytes: int) -> int:
    """Return the size rounded up by at most an eighth, so that similar sizes share memory."""
    step = 1 << max(nbytes.bit_length() - 4, 0)
    return -(-nbytes // step) * step


BUFFERS = Buffers()
"""The pool of this process."""


def scratch(rows: int, size: int, dtype: np.dtype[Any]) -> Array:
    """Return a matrix of `rows` vectors of `size` elements with arbitrary content."""
    return BUFFERS.take(rows * size * dtype.itemsize).view(dtype).reshape(rows, size)
