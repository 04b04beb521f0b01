"""Turns at a session: one change at a time in this process, retried if another writer was quicker. Knows no HTTP.

The lock per session saves wasted work; correctness comes from the compare-and-save alone.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, TypeVar

from app.errors import SessionBusy
from app.store.stamp import VersionConflict

T = TypeVar("T")

TRIES = 8
"""Attempts at a change against other writers, before the client is told to retry."""


class Turn:
    """The lock of one session, and how many changes hold it or wait for it."""

    __slots__ = ("lock", "users")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.users = 0


class Turns:
    """The sessions that are being changed."""

    def __init__(self) -> None:
        self._turns: dict[str, Turn] = {}

    def is_taken(self, session_id: str) -> bool:
        """Return whether something in this process changes the session."""
        return session_id in self._turns

    async def take(self, session_id: str, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what `attempt` returns, run while nothing else in this process changes the session."""
        turn = self._turns.get(session_id)
        if turn is None:
            turn = self._turns[session_id] = Turn()

        turn.users += 1
        try:
            return await retried(session_id, attempt, turn.lock)
        finally:
            turn.users -= 1
            if not turn.users:
                del self._turns[session_id]


async def retried(
    session_id: str, attempt: Callable[[], Awaitable[T]], alone: AbstractAsyncContextManager[Any] | None = None
) -> T:
    """Return what `attempt` returns, retried if another writer was quicker. Each try holds `alone`.

    Raises `SessionBusy`.
    """
    alone = alone or nullcontext()
    for _ in range(TRIES):
        async with alone:
            try:
                return await attempt()
            except VersionConflict:
                continue
    raise SessionBusy(f"session {session_id}: {TRIES} other changes came first; send the request again")


async def finished(change: Awaitable[T]) -> T:
    """Return the result of a change. It is finished even if its request is cancelled, and its error is then dropped."""
    task: asyncio.Future[T] = asyncio.ensure_future(change)
    task.add_done_callback(_read_error)
    try:
        return await asyncio.shield(task)
    finally:
        del task  # it has the error, whose traceback has this frame


def _read_error(task: asyncio.Future[T]) -> None:
    if not task.cancelled():
        task.exception()
