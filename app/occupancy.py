"""The room that is taken in the store, looked at once in a while, whatever the store does."""

import asyncio
import time

from app.errors import ServiceError
from app.store.base import Store
from app.store.usage import Usage

FRESH_SECONDS = 10.0
"""The time for which a look is used again, and the least time between two."""
PATIENCE_SECONDS = 0.5
"""The longest wait for the store: who asks for metrics must get those that do not need it."""


class Occupancy:
    """The last look at the store. Knows no HTTP."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._looking: asyncio.Task[None] | None = None
        self._next_look = 0.0
        self._usage: Usage | None = None
        self._seen = 0.0

    @property
    def usage(self) -> Usage | None:
        """Return what is in the store, `None` if that is not known now."""
        return self._usage if time.monotonic() < self._seen + 2 * FRESH_SECONDS else None

    async def refresh(self) -> None:
        """Look at the store if that is due, and wait a moment for what it answers."""
        if self._looking is None or (self._looking.done() and time.monotonic() >= self._next_look):
            self._next_look = time.monotonic() + FRESH_SECONDS
            self._looking = asyncio.create_task(self._look())
        await asyncio.wait([self._looking], timeout=PATIENCE_SECONDS)

    async def _look(self) -> None:
        try:
            self._usage = await self._store.usage()
        except ServiceError:  # the calls that failed are counted
            self._usage = None
        self._seen = time.monotonic()
