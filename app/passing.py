"""The checksums of a large step that are taken in passing: of its body, and of the parameters that it answers.

A second pass over them, when they are no longer in the cache, would take a third of the time of the step.
"""

import threading
from bisect import bisect_right

import numpy as np

from app.checksums import checksums_of, new_checksum
from app.pieces import Pieces
from app.running_checksum import RunningChecksum
from app.step import StepRequest
from optim_engine import Layout
from optim_engine.arrays import Array, Arrays

SMALLEST_BYTES = 1 << 20
"""The least bytes of a tensor whose checksum is worth it: it has a chunk of its own then."""


class Passing:
    """The checksums that follow the engine through a state, which has that layout unless the step changes it."""

    def __init__(self, cutting: Pieces, layout: Layout, request: StepRequest) -> None:
        self._cutting = cutting
        self.touching = cutting.touching
        self._once = request.once
        self._nbytes = max(layout.nbytes, 1)
        self._seen = 0
        self._lock = threading.Lock()
        places = sorted(
            (*layout.range(name, "params"), name) for name in request.grads if (name, "params") in layout.offsets
        )
        self._places = [place for place in places if place[1] - place[0] >= SMALLEST_BYTES]
        self._later: dict[int, int] = {}
        """The final ranges, start to end, that follow one which is not final yet."""
        self._final = {name: start for start, _, name in self._places}
        """The end of the bytes of each tensor that are final, from its first one on."""
        self._running: dict[str, RunningChecksum] = {}

    def filled(self, memory: Array, start: int, end: int) -> None:
        """Note that these bytes of the state have their final values; the engine calls it from any thread."""
        self._cutting.filled(memory, start, end)
        with self._lock:
            self._seen += end - start
            share = min(self._seen / self._nbytes, 1.0)
        self._once.advance(share)
        i = bisect_right(self._places, start, key=lambda place: place[0]) - 1
        if i < 0 or end > self._places[i][1]:
            return
        first, last, name = self._places[i]
        with self._lock:
            if name not in self._running:
                self._running[name] = RunningChecksum(memory.data[first:last], new_checksum())
            self._later[start] = end
            while (final := self._final[name]) in self._later:
                self._final[name] = self._later.pop(final)
        self._running[name].advance(self._final[name] - first)

    def of(self, name: str, array: Array) -> RunningChecksum | None:
        """Return the checksum of a tensor's bytes, if the array is of just these bytes in their place."""
        running = self._running.get(name)
        return running if running is not None and _is_of(array, running.data) else None


def checksums_passed(params: Arrays, passing: Passing | None) -> dict[str, int]:
    """Return the checksum of each array's bytes: the one taken in passing, if there is one."""
    taken = {name: found for name, x in params.items() if (found := passing.of(name, x))} if passing else {}
    rest = checksums_of({name: x for name, x in params.items() if name not in taken} if taken else params)
    return {name: taken[name].whole().intdigest() if name in taken else rest[name] for name in params}


def _is_of(array: Array, data: memoryview) -> bool:
    if array.nbytes != len(data) or not array.flags.c_contiguous:
        return False
    return bool(array.ctypes.data == np.frombuffer(data, np.uint8).ctypes.data)
