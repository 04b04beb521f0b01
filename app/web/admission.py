"""Admission control: the places for work under way, and each tenant's share of them."""

import asyncio
import random
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.errors import Overloaded

PATIENCE_SECONDS = (0.5, 1.5)
"""How long a request waits for a place. Jittered, so that clients that arrived together do not retry together."""


class Places:
    """The places for requests that bring tensors: taken when the body is whole, so that no client's pace holds one.

    A tenant alone may take all but a reserve. A place that comes free goes to the waiting tenant that has the fewest.
    Who finds none waits a moment, which also keeps clients who ask again at once from taking all of the event loop's
    time with refusals.
    """

    def __init__(self, count: int, reserve: int = 0) -> None:
        self._free = count
        self._reserve = reserve
        self._held: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @asynccontextmanager
    async def taken(self, tenant: str) -> AsyncIterator[None]:
        """Hold one of them. Raises `Overloaded`."""
        if tenant in self._waiting or not self._has_room_for(tenant):
            await self._turn(tenant)
        else:
            self._enter(tenant)
        try:
            yield
        finally:
            self._leave(tenant)

    def _has_room_for(self, tenant: str) -> bool:
        kept = self._reserve if self._held[tenant] >= self._reserve else 0
        return self._free > kept

    async def _turn(self, tenant: str) -> None:
        """Wait for a place, and hold it."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(tenant, deque()).append(turn)
        try:
            async with asyncio.timeout(random.uniform(*PATIENCE_SECONDS)):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                self._leave(tenant)  # it came in the very moment in which the wait ended
            turn.cancel()
            if isinstance(error, TimeoutError):
                raise Overloaded("all places are taken; send the request again") from None
            raise

    def _enter(self, tenant: str) -> None:
        self._free -= 1
        self._held[tenant] += 1

    def _leave(self, tenant: str) -> None:
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
