"""Turns at a session: one change at a time in this process, made anew where another writer was quicker. Knows no HTTP.

A lock for each session saves this process wasted work; the compare-and-save is what makes it true.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar
from weakref import WeakValueDictionary

from app.errors import SessionBusy
from app.store.base import VersionConflict

T = TypeVar("T")

TRIES = 8
"""How often a change is made anew because another writer was quicker, before the client is told to come again."""


class Turns:
    """The locks of the sessions that are being changed."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def take(self, session_id: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what `attempt` returns, which nobody else in this process changes the session beside."""

        async def alone() -> T:
            async with self._locks.setdefault(session_id, asyncio.Lock()):
                return await attempt()

        return await retried(session_id, alone)


async def retried(session_id: str, attempt: Callable[[], Awaitable[T]]) -> T:
    """Return what `attempt` returns, tried anew where another writer was quicker. Raises `SessionBusy`."""
    for _ in range(TRIES):
        try:
            return await attempt()
        except VersionConflict:
            continue
    raise SessionBusy(f"session {session_id}: {TRIES} other changes came first; send the request again")
