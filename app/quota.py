"""Quotas of a tenant: sessions, and bytes of state. Checked only when a session is new or grows.

Usage is counted in the store at that moment, so no second count can drift. In one process no two changes use the same
room; of several processes each may let one change too many pass. Knows no HTTP.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

from app.errors import QuotaExceeded
from app.store.base import Save, Store

PAGE = 256


class Quota:
    """The quotas of each tenant; `None` is unlimited."""

    def __init__(self, store: Store, sessions: int | None = None, state_bytes: int | None = None) -> None:
        self._store = store
        self._sessions = sessions
        self._state_bytes = state_bytes
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def concerns(self, save: Save) -> bool:
        """Return whether the save may go beyond a quota."""
        if save.previous is None:
            return self._sessions is not None or self._state_bytes is not None
        return self._state_bytes is not None and save.head.kept_bytes > save.previous.kept_bytes

    @asynccontextmanager
    async def room(self, save: Save) -> AsyncIterator[None]:
        """Keep the room while the save is made. Raises `QuotaExceeded`."""
        if not self._sessions and not self._state_bytes:
            yield
            return
        added = save.previous is None
        grown = save.head.kept_bytes - (save.previous.kept_bytes if save.previous else 0)
        if not (added and self._sessions) and not (grown > 0 and self._state_bytes):
            yield
            return
        async with self._locks.setdefault(save.head.tenant, asyncio.Lock()):
            await self._check(save.head.tenant, added, grown)
            yield

    async def check_waiting(self, tenant: str, waiting: int) -> None:
        """Raise `QuotaExceeded` if contributions of so many bytes may not wait in a session, beside the states."""
        if not self._state_bytes:
            return
        _, nbytes = await self._kept(tenant)
        if nbytes + waiting > self._state_bytes:
            raise QuotaExceeded(
                f"this tenant keeps {nbytes} bytes of state, {waiting} of contributions would wait in this session; "
                f"together it may keep {self._state_bytes}: close the round (POST …/rounds/{{round}}/close), delete a "
                "session, or raise OPTIM_MAX_STATE_BYTES",
                limit=self._state_bytes,
            )

    async def _check(self, tenant: str, added: bool, grown: int) -> None:
        count, nbytes = await self._kept(tenant)
        if added and self._sessions and count >= self._sessions:
            raise QuotaExceeded(
                f"this tenant has {count} sessions, and may have {self._sessions}: delete one, let it expire "
                "(ttl_seconds), or raise OPTIM_MAX_SESSIONS",
                limit=self._sessions,
            )
        if self._state_bytes and nbytes + grown > self._state_bytes:
            raise QuotaExceeded(
                f"this tenant keeps {nbytes} bytes of state, this needs {grown} more, and it may keep "
                f"{self._state_bytes}: delete a session, or raise OPTIM_MAX_STATE_BYTES",
                limit=self._state_bytes,
            )

    async def _kept(self, tenant: str) -> tuple[int, int]:
        """Return the number of sessions, and the bytes of their states, also of those that can be gone back to."""
        count, nbytes, last = 0, 0, None
        while page := await self._store.list(tenant, PAGE, last):
            count += len(page)
            nbytes += sum(head.kept_bytes for head in page)
            last = page[-1].session_id
        return count, nbytes
