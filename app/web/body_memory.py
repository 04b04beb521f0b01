"""The memory of bodies that come in: bounded for all together, and what comes slowest is let go first."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from app.errors import Overloaded

T = TypeVar("T")

WINDOW_SECONDS = 1.0
"""A body's pace is an average in which what came so long ago counts a third."""
YOUNGEST_SECONDS = 0.05
"""A body is taken to be at least so old: its first bytes come at once."""


class BodyMemory:
    """Counts the bytes that have come of large bodies, from the first one until the request's work is done.

    What is announced counts for nothing: that costs a client nothing. Where more than `limit` bytes are held, those
    bodies that are still coming are let go until it fits: of the tenant that holds the most, the slowest.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._limit = limit
        self._held = 0
        self._arrivals: set[Arrival] = set()

    @contextmanager
    def arrival(self, tenant: str) -> Iterator["Arrival"]:
        """Count a body in, until its memory is no longer needed."""
        arrival = Arrival(self, tenant)
        self._arrivals.add(arrival)
        try:
            yield arrival
        finally:
            self._forget(arrival)

    def grow(self, nbytes: int) -> None:
        """Count so many bytes more."""
        self._held += nbytes
        while self._held > self._limit and (coming := [a for a in self._arrivals if a.nbytes and not a.is_whole]):
            by_tenant: Counter[str] = Counter()
            for arrival in self._arrivals:
                by_tenant[arrival.tenant] += arrival.nbytes
            greediest = max(coming, key=lambda arrival: by_tenant[arrival.tenant]).tenant
            slowest = min((a for a in coming if a.tenant == greediest), key=Arrival.pace)
            self._forget(slowest)
            slowest.let_go()

    def _forget(self, arrival: "Arrival") -> None:
        if arrival in self._arrivals:
            self._arrivals.remove(arrival)
            self._held -= arrival.nbytes


class Arrival:
    """One body: how much of it has come, and how quickly."""

    def __init__(self, memory: BodyMemory, tenant: str) -> None:
        self._memory = memory
        self.tenant = tenant
        self.nbytes = 0
        self.is_whole = False
        self._patience = asyncio.timeout(None)
        self._is_let_go = False
        self._since = self._moved = memory.clock()
        self._recent = 0.0
        """Bytes that had come of late when it last moved, the older ones discounted."""

    async def read(self, reading: Awaitable[T]) -> T:
        """Return what is read, unless the body is let go before. Raises `Overloaded`."""
        try:
            async with self._patience:
                whole = await reading
        except TimeoutError:
            raise Overloaded(
                "there is no memory for more bodies, and this one came too slowly; send the request again, or raise "
                "OPTIM_MAX_WAITING_BYTES"
            ) from None
        self.is_whole = True
        return whole

    def grow(self, nbytes: int) -> None:
        """Count so many bytes more."""
        if self._is_let_go:
            return
        self.nbytes += nbytes
        now = self._memory.clock()
        self._recent, self._moved = self._recent_at(now) + nbytes, now
        self._memory.grow(nbytes)

    def pace(self) -> float:
        """Return its bytes per second of late: an exponentially weighted average, corrected for its short past."""
        now = self._memory.clock()
        age = max(now - self._since, YOUNGEST_SECONDS)
        return self._recent_at(now) / (WINDOW_SECONDS * -math.expm1(-age / WINDOW_SECONDS))

    def _recent_at(self, now: float) -> float:
        return self._recent * math.exp((self._moved - now) / WINDOW_SECONDS)

    def let_go(self) -> None:
        """Have `read` raise `Overloaded`."""
        self._is_let_go = True
        self._patience.reschedule(0)
