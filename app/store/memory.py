"""Sessions in this process's memory: for tests and notebooks. Nothing outlives the process.

It keeps views of the last saved state and copies nothing. All pieces of a state are views of one memory, also those
that a save takes over: otherwise one piece would keep a whole old state in memory. Between two awaits nobody else runs:
a save needs no lock. Values change only while a step writes over them: whoever wants to read them waits for its end
(`memory_views`).
"""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Self

from app.settings import Settings
from app.store.base import Head, Save, Store, Unreadable
from app.store.envelope import listed
from app.store.keys import Claim
from app.store.ledger import Due, Ledger, LedgerSave
from app.store.memory_claims import Claims
from app.store.memory_heads import Heads
from app.store.memory_history import Histories
from app.store.memory_keys import UsedKeys
from app.store.memory_ledgers import Ledgers
from app.store.memory_views import MemoryViews
from app.store.piece import Piece
from app.store.stamp import Stamp, VersionConflict
from app.store.usage import Usage


class MemoryStore(Histories, Store):
    """The store in one object: pass the object on to share it."""

    is_instant = keeps_views = True

    def __init__(self, history_limit: int) -> None:
        super().__init__()
        self.history_limit = history_limit
        self._heads = Heads()
        self._tenants: dict[str, str] = {}
        self._views = MemoryViews(self._heads)
        self._states = self._views.states
        self._keys: dict[str, UsedKeys] = {}
        self._claims = Claims(self._heads)
        self._ledgers = Ledgers()

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

    async def usage(self) -> Usage:
        return Usage(len(self._heads))

    async def durability(self) -> str:
        return "nothing outlives this process"

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
        if self._is_done(save):
            return
        if save.previous is None:
            self._remove(session_id)
        if save.used or save.undone is not None:
            self._keys.setdefault(session_id, UsedKeys()).take(save, self.key_memory)
        self._claims.remember_created(save)
        self._heads[session_id] = save.head
        self._tenants[session_id] = save.head.tenant
        if save.state is not None or save.previous is None:
            self._views.keep(save)
        self._histories[session_id].take(save, self.history_limit)
        if save.ledger:
            self._ledgers.take(save.ledger)

    def _is_done(self, save: Save) -> bool:
        """Return whether the change is there already. Raises `VersionConflict` if it may not be made."""
        session_id = save.head.session_id
        held = self._held(session_id)
        if save.is_done(held):
            return True
        self._claims.check_created(save)
        if save.ledger:
            save.ledger.expect(self._ledgers.stamp(session_id) if held else None)
        return False

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
        return self._claims.keep(claim, self.key_memory)

    async def ledger(self, session_id: str) -> Ledger | None:
        return self._ledgers.held(session_id) if self._held(session_id) else None

    async def save_ledger(self, save: LedgerSave) -> None:
        session_id = save.ledger.session_id
        self._expect(session_id)
        if not save.is_done(self._ledgers.stamp(session_id)):
            self._ledgers.take(save)
            self._histories[session_id].replace(save.replaced)

    async def contents(self, ledger: Ledger, pieces: Sequence[Piece]) -> list[memoryview]:
        self._expect(ledger.session_id)
        return await self._ledgers.contents(ledger, pieces)

    async def due(self) -> list[Due]:
        return self._ledgers.due()

    async def sweep(self) -> int:
        dead = [session_id for session_id in self._heads if self._heads.has_expired(session_id)]
        for session_id in dead:
            self._remove(session_id)
        return len(dead) + self._claims.sweep(self.key_memory)

    def _held(self, session_id: str) -> Stamp | None:
        """Return the stamp of a session that exists and has not expired."""
        label = self._heads.label(session_id)
        return None if label is None or label.expired else label.stamp

    def _expect(self, session_id: str) -> None:
        if self._held(session_id) is None:
            raise VersionConflict(f"session {session_id} does not exist")

    def _remove(self, session_id: str) -> None:
        for table in (self._heads, self._tenants, self._states, self._histories, self._keys, self._ledgers):
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
