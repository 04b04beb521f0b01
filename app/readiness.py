"""The look at the service's readiness, however many ask, and whatever the store does."""

import asyncio

from app.errors import StoreUnavailable
from app.store.base import Store

PATIENCE_SECONDS = 1.5
"""The longest wait for the store: many who send probes wait no longer than two seconds for an answer."""


class Readiness:
    """Asks the store once for all who want to know at the same time: a probe writes, and anybody may send one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._asking: asyncio.Task[None] | None = None

    async def check(self) -> None:
        """Return if the store can be written. Raises `StoreUnavailable`, also where it does not answer in time."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._store.ping())
            self._asking.add_done_callback(lambda asked: asked.cancelled() or asked.exception())  # maybe nobody waits
        asking = self._asking
        await asyncio.wait([asking], timeout=PATIENCE_SECONDS)
        if not asking.done():
            raise StoreUnavailable(f"the store did not answer within {PATIENCE_SECONDS:g} s")
        asking.result()
