"""Memory for bodies that come in: one bound for all, and over it the slowest body is dropped."""

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
"""A body's rate is an exponentially weighted average, with this time constant."""
YOUNGEST_SECONDS = 0.05
"""The least age of a body when its rate is computed, because its first bytes come at once."""


class BodyMemory:
    """The bytes that have come of large bodies, each counted until its request's work is done.

    Announced bytes do not count, because announcing costs a client nothing. While more than `limit` bytes are held,
    bodies that are incomplete are dropped: of the tenant that holds the most, the slowest first.
    """

    def __init__(self, limit: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.limit = limit
        self.nbytes = 0
        """The bytes that are held."""
        self._arrivals: set[Arrival] = set()

    @contextmanager
    def arrival(self, tenant: str) -> Iterator["Arrival"]:
        """Count a body for the block, which lasts until its memory is no longer needed."""
        arrival = Arrival(self, tenant)
        self._arrivals.add(arrival)
        try:
            yield arrival
        finally:
            self._forget(arrival)

    def grow(self, nbytes: int) -> None:
        """Count more bytes."""
        self.nbytes += nbytes
        while self.nbytes > self.limit and (coming := [a for a in self._arrivals if a.nbytes and not a.is_whole]):
            by_tenant: Counter[str] = Counter()
            for arrival in self._arrivals:
                by_tenant[arrival.tenant] += arrival.nbytes
            greediest = max(coming, key=lambda arrival: by_tenant[arrival.tenant]).tenant
            slowest = min((a for a in coming if a.tenant == greediest), key=Arrival.rate)
            self._forget(slowest)
            slowest.drop()

    def _forget(self, arrival: "Arrival") -> None:
        if arrival in self._arrivals:
            self._arrivals.remove(arrival)
            self.nbytes -= arrival.nbytes


class Arrival:
    """One body: the bytes that have come, and their rate."""

    def __init__(self, memory: BodyMemory, tenant: str) -> None:
        self._memory = memory
        self.tenant = tenant
        self.nbytes = 0
        self.is_whole = False
        self._patience = asyncio.timeout(None)
        self._is_dropped = False
        self._since = self._moved = memory.clock()
        self._recent = 0.0
        """Bytes when some last came, the older ones discounted."""

    async def read(self, reading: Awaitable[T]) -> T:
        """Return the whole body from `reading`. Raises `Overloaded` if it is dropped before."""
        try:
            async with self._patience:
                whole = await reading
        except TimeoutError:
            raise Overloaded(
                "no memory is left for bodies, and this one came the slowest; send the request again, or raise "
                "OPTIM_MAX_WAITING_BYTES"
            ) from None
        self.is_whole = True
        return whole

    def grow(self, nbytes: int) -> None:
        """Count more bytes."""
        if self._is_dropped:
            return
        self.nbytes += nbytes
        now = self._memory.clock()
        self._recent, self._moved = self._recent_at(now) + nbytes, now
        self._memory.grow(nbytes)

    def rate(self) -> float:
        """Return its recent bytes per second: an exponentially weighted average, corrected for its short past."""
        now = self._memory.clock()
        age = max(now - self._since, YOUNGEST_SECONDS)
        return self._recent_at(now) / (WINDOW_SECONDS * -math.expm1(-age / WINDOW_SECONDS))

    def _recent_at(self, now: float) -> float:
        return self._recent * math.exp((self._moved - now) / WINDOW_SECONDS)

    def drop(self) -> None:
        """Make `read` raise `Overloaded`."""
        self._is_dropped = True
        self._patience.reschedule(0)
