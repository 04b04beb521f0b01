"""The look at the service's readiness, however many ask, and whatever the store does."""

import asyncio

from app.errors import Overloaded, StoreUnavailable
from app.store.base import Store

PATIENCE_SECONDS = 1.5
"""The longest wait for the store: many who send probes wait no longer than two seconds for an answer."""


class Readiness:
    """Asks the store once for all who want to know at the same time: a probe writes, and anybody may send one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asking: asyncio.Task[None] | None = None
        self._is_ended = False
        self.durability = ""
        """The words for what a crash does to answered steps, as the store told them when it was opened."""

    def end(self) -> None:
        """Be not ready from now on: this process is about to stop."""
        self._is_ended = True

    async def check(self) -> None:
        """Return if the store can be written. Raises `StoreUnavailable`, also where it does not answer in time, and
        `Overloaded` at the end.
        """
        if self._is_ended:
            raise Overloaded("this process is about to stop: send requests to another one")
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._store.ping())
            self._asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())  # maybe nobody waits
        asking = self._asking
        await asyncio.wait([asking], timeout=PATIENCE_SECONDS)
        if not asking.done():
            raise StoreUnavailable(f"the store did not answer within {PATIENCE_SECONDS:g} s")
        asking.result()
