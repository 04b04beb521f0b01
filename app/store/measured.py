"""A store whose calls are counted and timed, for all that stands above it."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager

from app.metrics.families import Family
from app.metrics.store import StoreMetrics
from app.store.base import AlreadyCreated, Head, KeyUsed, Save, Saving, Store, Unreadable
from app.store.history import HistoryRow, Numbered
from app.store.keys import Claim
from app.store.ledger import Due, Ledger, LedgerSave
from app.store.piece import Part, Piece
from app.store.stamp import Stamp, VersionConflict
from app.store.usage import Usage


class Call:
    """One call of a verb; a class, because a generator takes longer. Cancelled calls are not counted."""

    __slots__ = ("_metrics", "_started", "_verb")

    def __init__(self, metrics: StoreMetrics, verb: str) -> None:
        self._metrics = metrics
        self._verb = verb

    def __enter__(self) -> None:
        self._started = time.perf_counter()

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None and not isinstance(error, Exception):
            return
        self._metrics.count(self._verb, time.perf_counter() - self._started)
        if error is None or isinstance(error, KeyUsed | AlreadyCreated):
            return
        if isinstance(error, VersionConflict):
            self._metrics.count_conflict()
        else:
            self._metrics.count_error(self._verb)


class MeasuredSaving(Saving):
    """A saving whose save is counted."""

    def __init__(self, store: Store, saving: Saving, metrics: StoreMetrics) -> None:
        super().__init__(store, saving.token)
        self._saving = saving
        self._metrics = metrics

    def write(self, part: Part) -> None:
        self._saving.write(part)

    async def save(self, save: Save) -> None:
        with Call(self._metrics, "save"):
            await self._saving.save(save)

    async def discard(self) -> None:
        await self._saving.discard()


class MeasuredStore(Store):
    """A store around another one, which does the work."""

    def __init__(self, store: Store, metrics: StoreMetrics) -> None:
        self._store = store
        self._metrics = metrics
        self.is_instant = store.is_instant
        self.keeps_views = store.keeps_views
        self.history_limit = store.history_limit
        self.key_memory = store.key_memory

    @property
    def families(self) -> Sequence[Family]:
        return self._store.families

    async def open(self) -> None:
        await self._store.open()

    async def close(self) -> None:
        await self._store.close()

    async def warnings(self) -> list[str]:
        return await self._store.warnings()

    async def durability(self) -> str:
        return await self._store.durability()

    def saving(self, session_id: str, token: str, previous: Head | None = None) -> Saving:
        return MeasuredSaving(self, self._store.saving(session_id, token, previous), self._metrics)

    def written_over(self, head: Head, state: memoryview) -> AbstractContextManager[None]:
        return self._store.written_over(head, state)

    async def ping(self) -> None:
        with Call(self._metrics, "ping"):
            await self._store.ping()

    async def usage(self) -> Usage:
        with Call(self._metrics, "usage"):
            return await self._store.usage()

    async def load(self, session_id: str) -> Head | None:
        with Call(self._metrics, "load"):
            return await self._store.load(session_id)

    async def read(self, head: Head, into: memoryview) -> None:
        with Call(self._metrics, "read"):
            await self._store.read(head, into)

    async def save(self, save: Save) -> None:
        with Call(self._metrics, "save"):
            await self._store.save(save)

    async def confirm(self, session_id: str) -> None:
        with Call(self._metrics, "confirm"):
            await self._store.confirm(session_id)

    async def delete(self, session_id: str, expected: Stamp | None = None) -> bool:
        with Call(self._metrics, "delete"):
            return await self._store.delete(session_id, expected)

    async def used(self, session_id: str, digest: str) -> bytes | None:
        with Call(self._metrics, "used"):
            return await self._store.used(session_id, digest)

    async def claim(self, claim: Claim) -> Claim:
        with Call(self._metrics, "claim"):
            return await self._store.claim(claim)

    async def sweep(self) -> int:
        with Call(self._metrics, "sweep"):
            return await self._store.sweep()

    async def history(self, session_id: str, after: int, limit: int) -> list[bytes]:
        with Call(self._metrics, "history"):
            return await self._store.history(session_id, after, limit)

    async def given(self, session_id: str, after: int, limit: int) -> Sequence[HistoryRow | bytes]:
        with Call(self._metrics, "given"):
            return await self._store.given(session_id, after, limit)

    async def latest(self, session_id: str, count: int) -> list[bytes]:
        with Call(self._metrics, "latest"):
            return await self._store.latest(session_id, count)

    async def newer(self, session_id: str, version: int, limit: int) -> list[Numbered]:
        with Call(self._metrics, "newer"):
            return await self._store.newer(session_id, version, limit)

    async def marks(self, session_id: str) -> list[bytes]:
        with Call(self._metrics, "marks"):
            return await self._store.marks(session_id)

    async def outline(self, session_id: str) -> bytes | None:
        with Call(self._metrics, "outline"):
            return await self._store.outline(session_id)

    async def keep_outline(self, session_id: str, outline: bytes) -> None:
        with Call(self._metrics, "keep_outline"):
            await self._store.keep_outline(session_id, outline)

    async def ledger(self, session_id: str) -> Ledger | None:
        with Call(self._metrics, "ledger"):
            return await self._store.ledger(session_id)

    async def save_ledger(self, save: LedgerSave) -> None:
        with Call(self._metrics, "save_ledger"):
            await self._store.save_ledger(save)

    async def contents(self, ledger: Ledger, pieces: Sequence[Piece]) -> list[memoryview]:
        with Call(self._metrics, "contents"):
            return await self._store.contents(ledger, pieces)

    async def due(self) -> list[Due]:
        with Call(self._metrics, "due"):
            return await self._store.due()

    async def now(self) -> float:
        with Call(self._metrics, "now"):
            return await self._store.now()

    async def is_listed(self, tenant: str, session_id: str) -> bool:
        with Call(self._metrics, "is_listed"):
            return await self._store.is_listed(tenant, session_id)

    async def list(self, tenant: str, limit: int, before: str | None = None) -> list[Head | Unreadable]:
        with Call(self._metrics, "list"):
            return await self._store.list(tenant, limit, before)
