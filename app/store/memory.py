"""Sessions in this process's memory: for tests and notebooks. Nothing outlives the process.

It keeps views of the state that was saved last, and copies nothing: what is handed over never changes. All of a
session's pieces are views of one state, also those that a save takes over from the one before, so that no part of an
old state keeps the whole of it. Between two awaits nobody else runs: a save needs no lock.
"""

import asyncio
import bisect
from typing import Self

from app.settings import Settings
from app.store.base import Head, Save, Stamp, Store, Unreadable, VersionConflict
from app.store.envelope import decode, encode, has_expired, listed, peek

Row = tuple[int, int, bytes]
"""Step, the version that wrote it, body: sorts as it is read."""


class MemoryStore(Store):
    """One object is one store: hand the object on to share it."""

    def __init__(self, history_limit: int) -> None:
        self.history_limit = history_limit
        self._heads: dict[str, bytes] = {}
        self._tenants: dict[str, str] = {}
        self._pieces: dict[str, dict[str, memoryview]] = {}
        self._rows: dict[str, list[Row]] = {}

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        if settings.store != "memory:":
            raise ValueError(f"OPTIM_STORE={settings.store}: nothing may follow memory:")
        return cls(settings.history_limit)

    async def open(self) -> None:
        pass

    async def close(self) -> None:
        pass

    async def ping(self) -> None:
        pass

    async def load(self, session_id: str) -> Head | None:
        return decode(session_id, self._heads[session_id]) if self._held(session_id) else None

    async def read(self, head: Head, into: memoryview) -> None:
        if self._held(head.session_id) != head.stamp:
            raise VersionConflict(f"session {head.session_id} is no longer at {head.stamp}")
        held = dict(self._pieces[head.session_id])
        offset = 0
        for piece in head.pieces:
            data = held.get(piece.name)
            piece.verify(head.session_id, data)
            into[offset : offset + piece.size] = data or b""
            offset += piece.size
            await asyncio.sleep(0)

    async def save(self, change: Save) -> None:
        session_id = change.head.session_id
        if change.is_done(self._held(session_id)):
            return
        if change.previous is None:
            self._remove(session_id)
        self._heads[session_id] = encode(change.head)
        self._tenants[session_id] = change.head.tenant
        if change.state is not None or change.previous is None:
            self._pieces[session_id] = {piece.name: data for piece, data in change.parts}
        rows = self._rows.setdefault(session_id, [])
        if change.forget_after is not None:
            del rows[bisect.bisect_left(rows, (change.forget_after + 1,)) :]
        if change.row:
            bisect.insort(rows, (change.row.step, change.head.version, change.row.body))
        del rows[: -self.history_limit]

    async def delete(self, session_id: str) -> bool:
        data = self._heads.get(session_id)
        self._remove(session_id)
        return data is not None and not has_expired(data)

    async def history(self, session_id: str, after: int, limit: int) -> list[bytes]:
        rows = self._rows[session_id] if self._held(session_id) else []
        start = bisect.bisect_left(rows, (after + 1,))
        page = rows[start : start + limit]
        if page:
            page = rows[start : bisect.bisect_left(rows, (page[-1][0] + 1,))]
        return [body for _, _, body in page]

    async def latest(self, session_id: str, count: int) -> list[bytes]:
        rows = self._rows[session_id] if self._held(session_id) else []
        return [body for _, _, body in rows[max(0, len(rows) - count) :]]

    async def sweep(self) -> int:
        dead = [session_id for session_id, data in self._heads.items() if has_expired(data)]
        for session_id in dead:
            self._remove(session_id)
        return len(dead)

    def _held(self, session_id: str) -> Stamp | None:
        """The stamp of a session that is there and has not expired."""
        data = self._heads.get(session_id)
        if data is None:
            return None
        label = peek(session_id, data)
        return None if label.expired else label.stamp

    def _remove(self, session_id: str) -> None:
        for table in (self._heads, self._tenants, self._pieces, self._rows):
            table.pop(session_id, None)

    async def is_listed(self, tenant: str, session_id: str) -> bool:
        return self._tenants.get(session_id) == tenant

    async def list(self, tenant: str, limit: int, before: str | None = None) -> list[Head | Unreadable]:
        heads: list[Head | Unreadable] = []
        for session_id in sorted(self._heads, reverse=True):
            if len(heads) == limit:
                break
            if (before is None or session_id < before) and self._tenants[session_id] == tenant:
                heads += listed(tenant, session_id, self._heads[session_id])
        return heads
