"""Admission control: the places for work under way, and each tenant's share of them."""

import asyncio
import random
from collections import Counter, deque

from app.errors import Overloaded

PATIENCE_SECONDS = (0.5, 1.5)
"""The time that a request waits for a place. Jittered, so that clients that arrived together do not retry together."""


class Admission:
    """The places for requests that bring tensors: taken once the body is whole, so that a slow client holds none.

    One tenant alone may take all but a reserve. A place that comes free goes to the waiting tenant with the fewest.
    A request that finds none waits a moment before it is refused: this also slows down clients that retry at once,
    whose refusals would else take all of the event loop's time.
    """

    def __init__(self, places: int, reserve: int = 0) -> None:
        self.places = self._free = places
        self._reserve = reserve
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    def place(self, tenant: str) -> "Place":
        """Return a place to hold for a block. Entering it raises `Overloaded`."""
        return Place(self, tenant)

    async def enter(self, tenant: str) -> None:
        """Take a place, and wait for it if none is free. Raises `Overloaded`."""
        if tenant in self._waiting or not self._has_room_for(tenant):
            await self._wait(tenant)
        else:
            self._enter(tenant)

    @property
    def taken(self) -> int:
        """Return the number of places that are taken."""
        return self.places - self._free

    @property
    def waiting(self) -> int:
        """Return the number of requests that wait for a place."""
        return sum(not turn.done() for turns in self._waiting.values() for turn in turns)

    @property
    def is_open(self) -> bool:
        """Return whether there is a place for any tenant, and nobody waits."""
        return self._free > self._reserve and not self._waiting

    def _has_room_for(self, tenant: str) -> bool:
        kept = self._reserve if self._held[tenant] >= self._reserve else 0
        return self._free > kept

    async def _wait(self, tenant: str) -> None:
        """Wait for a place, and hold it."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(turn)
        try:
            async with asyncio.timeout(random.uniform(*PATIENCE_SECONDS)):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self.leave(tenant)  # the place came at the moment at which the wait ended
            turn.cancel()
            if isinstance(error, TimeoutError):
                raise Overloaded("all places are taken; send the request again") from None
            raise

    def _enter(self, tenant: str) -> None:
        self._free -= 1
        self._held[tenant] += 1

    def leave(self, tenant: str) -> None:
        """Give a place back."""
        self._free += 1
        self._held[tenant] -= 1
        if not self._held[tenant]:
            del self._held[tenant]
        if self._waiting:
            self._hand_out()

    def _hand_out(self) -> None:
        while able := [tenant for tenant in self._waiting if self._has_room_for(tenant)]:
            tenant = min(able, key=self._held.__getitem__)
            turn = self._waiting[tenant].popleft()
            if not self._waiting[tenant]:
                del self._waiting[tenant]
            if not turn.done():
                self._enter(tenant)
                turn.set_result(None)


class Place:
    """One tenant's place, held by `async with`; a class, because a generator takes longer."""

    __slots__ = ("_admission", "_tenant")

    def __init__(self, admission: Admission, tenant: str) -> None:
        self._admission = admission
        self._tenant = tenant

    async def __aenter__(self) -> None:
        await self._admission.enter(self._tenant)

    async def __aexit__(self, *_: object) -> None:
        self._admission.leave(self._tenant)
