"""Sessions in this process's memory: for tests and notebooks. Nothing outlives the process.

It keeps views of the last saved state and copies nothing. All pieces of a state are views of one memory, also those
that a save takes over: otherwise one piece would keep a whole old state in memory. Between two awaits nobody else runs:
a save needs no lock. Values change only while a step writes over them: whoever wants to read them waits for its end
(`memory_views`).
"""

import time
from contextlib import AbstractContextManager
from typing import Self

from app.settings import Settings
from app.store.base import AlreadyCreated, Head, Save, Stamp, Store, Unreadable, VersionConflict
from app.store.envelope import listed
from app.store.keys import Claim
from app.store.memory_heads import Heads
from app.store.memory_history import History
from app.store.memory_keys import UsedKeys
from app.store.memory_views import MemoryViews


class MemoryStore(Store):
    """The store in one object: pass the object on to share it."""

    is_instant = keeps_views = True

    def __init__(self, history_limit: int) -> None:
        self.history_limit = history_limit
        self._heads = Heads()
        self._tenants: dict[str, str] = {}
        self._views = MemoryViews(self._heads)
        self._states = self._views.states
        self._histories: dict[str, History] = {}
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
        history = self._histories.get(session_id)
        if history is None:
            history = self._histories[session_id] = History()
        history.take(save, self.history_limit)

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
        return self._histories[session_id].after(after, limit) if self._held(session_id) else []

    async def latest(self, session_id: str, count: int) -> list[bytes]:
        return self._histories[session_id].latest(count) if self._held(session_id) else []

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
        for table in (self._heads, self._tenants, self._states, self._histories, self._keys):
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
