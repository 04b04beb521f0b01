"""Turns at a session: one change at a time in this process, retried if another writer was quicker. Knows no HTTP.

The lock per session saves wasted work; correctness comes from the compare-and-save alone.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar
from weakref import WeakValueDictionary

from app.errors import SessionBusy
from app.store.base import VersionConflict

T = TypeVar("T")

TRIES = 8
"""Attempts at a change against other writers, before the client is told to retry."""


class Turns:
    """The locks of the sessions that are being changed."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def is_taken(self, session_id: str) -> bool:
        """Return true while something in this process changes the session."""
        lock = self._locks.get(session_id)
        return lock is not None and lock.locked()

    async def take(self, session_id: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what `attempt` returns, run while nothing else in this process changes the session."""

        async def alone() -> T:
            async with self._locks.setdefault(session_id, asyncio.Lock()):
                return await attempt()

        return await retried(session_id, alone)


async def retried(session_id: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """Return what `attempt` returns, retried if another writer was quicker. Raises `SessionBusy`."""
    for _ in range(TRIES):
        try:
            return await attempt()
        except VersionConflict:
            continue
    raise SessionBusy(f"session {session_id}: {TRIES} other changes came first; send the request again")
