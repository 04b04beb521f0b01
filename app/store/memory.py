"""Sessions in this process's memory: for tests and notebooks. Nothing outlives the process.

It keeps views of the last saved state and copies nothing. All pieces of a state are views of one memory, also those
that a save takes over: otherwise one piece would keep a whole old state in memory. Between two awaits nobody else runs:
a save needs no lock. Values change only while a step writes over them: whoever wants to read them waits for its end
(`memory_views`).
"""

import bisect
import time
from collections import OrderedDict
from contextlib import AbstractContextManager
from typing import NamedTuple, Self

from app.settings import Settings
from app.store.base import AlreadyCreated, Head, HistoryRow, KeyUsed, Save, Stamp, Store, Unreadable, VersionConflict
from app.store.envelope import listed
from app.store.generation import Undone
from app.store.keys import TRIMMED, Claim, KeyMemory
from app.store.memory_heads import Heads
from app.store.memory_views import MemoryViews


class Row(NamedTuple):
    """A row of the history: sorts in the order of reading, by its step and the version that wrote it."""

    step: int
    version: int
    given: HistoryRow


class Rows:
    """The history of one session."""

    def __init__(self) -> None:
        self._rows: list[Row] = []

    def take(self, save: Save, limit: int) -> None:
        """Forget, mark and add rows as the save asks."""
        if save.forget_after is not None:
            self.forget_after(save.forget_after)
        if save.undone is not None:
            self.replace(save.undone)
        if save.row:
            self.add(save.row, save.head.version, limit)

    def replace(self, undone: Undone) -> None:
        """Mark the row of a step that is undone, if it is kept."""
        i = bisect.bisect_left(self._rows, (undone.step, undone.version))
        if i < len(self._rows) and self._rows[i][:2] == (undone.step, undone.version):
            self._rows[i] = Row(undone.step, undone.version, HistoryRow(undone.step, undone.marked))

    def forget_after(self, step: int) -> None:
        """Remove the rows of later steps."""
        del self._rows[bisect.bisect_left(self._rows, (step + 1,)) :]

    def add(self, row: HistoryRow, version: int, limit: int) -> None:
        """Keep a row, and of all rows the latest `limit`."""
        place = Row(row.step, version, row)
        if self._rows and place < self._rows[-1]:
            bisect.insort(self._rows, place)
        else:
            self._rows.append(place)
        del self._rows[:-limit]

    def after(self, step: int, limit: int) -> list[bytes]:
        """Return `limit` rows of later steps, and all others of the last one's step."""
        start = bisect.bisect_left(self._rows, (step + 1,))
        page = self._rows[start : start + limit]
        if page:
            page = self._rows[start : bisect.bisect_left(self._rows, (page[-1].step + 1,))]
        return [row.given.body for row in page]

    def latest(self, count: int) -> list[bytes]:
        """Return the last `count` rows."""
        return [row.given.body for row in self._rows[max(0, len(self._rows) - count) :]]


class UsedKeys(OrderedDict[str, tuple[float, bytes]]):
    """The keys that one session has used: the time and the row of each, oldest first."""

    def row(self, digest: str) -> bytes | None:
        """Return the row of a key, if it is known."""
        known = self.get(digest)
        return known[1] if known else None

    def take(self, save: Save, memory: KeyMemory) -> None:
        """Mark, add and forget keys as a save asks. Raises `KeyUsed` before any change."""
        used, undone = save.used, save.undone and save.undone.key
        if not self.keys().isdisjoint(key.digest for key in used):
            raise KeyUsed(f"session {save.head.session_id}: the key was used before")
        if undone is not None and undone.digest in self:
            self[undone.digest] = self[undone.digest][0], undone.row
        now = time.time()
        for key in used:
            self[key.digest] = now, key.row
        for _ in used and range(TRIMMED):
            oldest, (used_at, _) = next(iter(self.items()))
            if not memory.may_forget(len(self) - 1, used_at):
                break
            del self[oldest]


class MemoryStore(Store):
    """The store in one object: pass the object on to share it."""

    is_instant = keeps_views = True

    def __init__(self, history_limit: int) -> None:
        self.history_limit = history_limit
        self._heads = Heads()
        self._tenants: dict[str, str] = {}
        self._views = MemoryViews(self._heads)
        self._states = self._views.states
        self._rows: dict[str, Rows] = {}
        self._keys: dict[str, UsedKeys] = {}
        self._claims: dict[tuple[str, str], Claim] = {}
        self._created: dict[str, float] = {}
        """The times at which the sessions of claims were created."""

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
        return self._heads.read(session_id) if self._held(session_id) else None

    async def read(self, head: Head, into: memoryview) -> None:
        await self._views.until_held(head.session_id)
        if self._held(head.session_id) != head.stamp:
            raise VersionConflict(f"session {head.session_id} is no longer at {head.stamp}")
        await self._views.fill(head, into)

    def written_over(self, head: Head, state: memoryview) -> AbstractContextManager[None]:
        return self._views.written_over(head, state)

    async def save(self, save: Save) -> None:
        session_id = save.head.session_id
        if save.state is None:
            await self._views.until_held(session_id)
        if save.is_done(self._held(session_id)):
            return
        if save.claimed and session_id in self._created:
            raise AlreadyCreated(f"session {session_id} was created before")
        if save.previous is None:
            self._remove(session_id)
        if save.used or save.undone is not None:
            self._keys.setdefault(session_id, UsedKeys()).take(save, self.key_memory)
        if save.claimed:
            self._created[session_id] = time.time()
        self._heads[session_id] = save.head
        self._tenants[session_id] = save.head.tenant
        if save.state is not None or save.previous is None:
            self._views.keep(save)
        rows = self._rows.get(session_id)
        if rows is None:
            rows = self._rows[session_id] = Rows()
        rows.take(save, self.history_limit)

    async def delete(self, session_id: str, expected: Stamp | None = None) -> bool:
        is_there = session_id in self._heads and not self._heads.has_expired(session_id)
        if is_there and expected is not None and self._held(session_id) != expected:
            raise VersionConflict(f"session {session_id} is no longer at {expected}")
        self._remove(session_id)
        return is_there

    async def used(self, session_id: str, digest: str) -> bytes | None:
        keys = self._keys.get(session_id)
        return keys.row(digest) if keys else None

    async def claim(self, claim: Claim) -> Claim:
        place = claim.tenant, claim.key
        held = self._claims.get(place)
        if held is None or self._is_over(held):
            held = self._claims[place] = claim
        return held

    def _is_over(self, claim: Claim) -> bool:
        is_gone = claim.session_id not in self._heads or self._heads.has_expired(claim.session_id)
        return is_gone and self.key_memory.is_old(claim.time)

    async def history(self, session_id: str, after: int, limit: int) -> list[bytes]:
        return self._rows[session_id].after(after, limit) if self._held(session_id) else []

    async def latest(self, session_id: str, count: int) -> list[bytes]:
        return self._rows[session_id].latest(count) if self._held(session_id) else []

    async def sweep(self) -> int:
        dead = [session_id for session_id in self._heads if self._heads.has_expired(session_id)]
        for session_id in dead:
            self._remove(session_id)
        over = [place for place, claim in self._claims.items() if self._is_over(claim)]
        for place in over:
            del self._claims[place]
        self._created = {name: at for name, at in self._created.items() if not self.key_memory.is_old(at)}
        return len(dead) + len(over)

    def _held(self, session_id: str) -> Stamp | None:
        """Return the stamp of a session that exists and has not expired."""
        label = self._heads.label(session_id)
        return None if label is None or label.expired else label.stamp

    def _remove(self, session_id: str) -> None:
        for table in (self._heads, self._tenants, self._states, self._rows, self._keys):
            table.pop(session_id, None)

    async def is_listed(self, tenant: str, session_id: str) -> bool:
        return self._tenants.get(session_id) == tenant

    async def list(self, tenant: str, limit: int, before: str | None = None) -> list[Head | Unreadable]:
        heads: list[Head | Unreadable] = []
        for session_id in sorted(self._heads, reverse=True):
            if len(heads) == limit:
                break
            if (before is None or session_id < before) and self._tenants[session_id] == tenant:
                heads += listed(tenant, session_id, self._heads.written(session_id))
        return heads
