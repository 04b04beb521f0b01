"""Sessions in one LMDB file: the embedded store.

Each save is synced, so that it survives a power cut once it is answered; `relaxed` leaves that to the operating system.
Any number of processes may use one folder at once: LMDB lets one of them write at a time, and readers see a snapshot.
"""

import asyncio
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from typing import Self

from app.errors import StateDamaged, StoreUnavailable
from app.file_modes import loose
from app.metrics.families import Family, Gauge
from app.settings import Settings
from app.store import (
    lmdb_claims,
    lmdb_history,
    lmdb_keys,
    lmdb_ledgers,
    lmdb_marks,
    lmdb_outlines,
    lmdb_sweep,
    lmdb_usage,
)
from app.store.base import Head, IncompatibleStore, Save, Store, Unreadable
from app.store.history import Numbered
from app.store.keys import Claim
from app.store.ledger import Due, Ledger, LedgerSave
from app.store.lmdb_file import LmdbFile, folder_of
from app.store.lmdb_saving import LmdbSaving
from app.store.piece import Piece
from app.store.stamp import Stamp
from app.store.usage import Usage

PROBE = b"optim-service probe"
PROBE_BYTES = 1 << 16
"""The size of the value that `ping` writes under that key: LMDB finds room for one byte in a file that is full for
sessions."""
PING_SECONDS = 1.25
"""The time that a probe waits for the disk: less than the two seconds in which `/readyz` answers."""


class LmdbStore(Store):
    """The store in one folder: one object in a process."""

    def __init__(self, file: LmdbFile, history_limit: int) -> None:
        self.file = file
        self.history_limit = history_limit
        self._probe: Future[bool] | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        file = LmdbFile(folder_of(settings), settings.lmdb_map_bytes, sync=settings.lmdb_sync == "full")
        return cls(file, settings.history_limit)

    async def open(self) -> None:
        self._probe = None
        await asyncio.to_thread(self.file.open)

    async def close(self) -> None:
        await self.file.close()

    async def warnings(self) -> list[str]:
        """Return a warning for each path that other users may read or write."""
        return await asyncio.to_thread(loose, self.file.paths)

    async def durability(self) -> str:
        survived = "a power cut" if self.file.sync else "a `kill -9`, but no power cut"
        return f"an answered step survives {survived}"

    async def ping(self) -> None:
        """Write, or see that others do: a probe that waits behind their saves is no sign of a stuck store."""
        environment = self.file.environment
        saved = environment.info()["last_txnid"]
        if self._probe is None or self._probe.done():
            self._probe = self.file.submit(lambda txn: txn.put(PROBE, bytes(PROBE_BYTES)), PROBE_BYTES)
        waiting = asyncio.wrap_future(self._probe)
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())  # maybe nobody waits by then
        await asyncio.wait([waiting], timeout=PING_SECONDS)
        if waiting.done():
            await self.file.finish(self._probe)
        elif environment.info()["last_txnid"] == saved:
            raise StoreUnavailable(f"the store in {self.file.folder} wrote nothing within {PING_SECONDS:g} s")

    @property
    def families(self) -> Sequence[Family]:
        file, words = self.file, "Jobs that wait for the next transaction of the store."
        return file.batches, Gauge("optim_commit_waiting", words, lambda: file.waiting)

    async def usage(self) -> Usage:
        file = self.file
        return await file.view(lambda txn: lmdb_usage.usage(txn, file.tables, file.folder, file.map_bytes))

    async def load(self, session_id: str) -> Head | None:
        return await self.file.view(lambda txn: self.file.tables.head(txn, session_id))

    async def read(self, head: Head, into: memoryview) -> None:
        await self.file.view(lambda txn: self.file.tables.fill(txn, head, into))

    def saving(self, session_id: str, token: str, previous: Head | None = None) -> LmdbSaving:
        return LmdbSaving(self, self.file, session_id, token)

    async def save(self, save: Save) -> None:
        await self.saving(save.head.session_id, save.head.token).save(save)

    async def ledger(self, session_id: str) -> Ledger | None:
        return await self.file.view(lambda txn: lmdb_ledgers.read(txn, self.file.tables, session_id))

    async def save_ledger(self, save: LedgerSave) -> None:
        await self.saving(save.ledger.session_id, save.ledger.token).save_ledger(save)

    async def contents(self, ledger: Ledger, pieces: Sequence[Piece]) -> list[memoryview]:
        return await self.file.view(lambda txn: lmdb_ledgers.contents(txn, self.file.tables, ledger, pieces))

    async def due(self) -> list[Due]:
        return await self.file.view(lambda txn: lmdb_ledgers.due(txn, self.file.tables))

    async def delete(self, session_id: str, expected: Stamp | None = None) -> bool:
        return await self.file.write(lambda txn: self.file.tables.delete(txn, session_id, expected))

    async def used(self, session_id: str, digest: str) -> bytes | None:
        return await self.file.view(lambda txn: lmdb_keys.row_of(txn, self.file.tables, session_id, digest))

    async def claim(self, claim: Claim) -> Claim:
        return await self.file.write(lambda txn: lmdb_claims.keep(txn, self.file.tables, claim, self.key_memory))

    async def history(self, session_id: str, after: int, limit: int) -> list[bytes]:
        return await self.file.view(
            lambda txn: lmdb_history.rows_after(txn, self.file.tables, session_id, after, limit)
        )

    async def latest(self, session_id: str, count: int) -> list[bytes]:
        return await self.file.view(lambda txn: lmdb_history.latest_rows(txn, self.file.tables, session_id, count))

    async def newer(self, session_id: str, version: int, limit: int) -> list[Numbered]:
        return await self.file.view(lambda txn: lmdb_history.newer(txn, self.file.tables, session_id, version, limit))

    async def marks(self, session_id: str) -> list[bytes]:
        return await self.file.view(lambda txn: lmdb_marks.marks(txn, self.file.tables, session_id))

    async def outline(self, session_id: str) -> bytes | None:
        return await self.file.view(lambda txn: lmdb_outlines.read(txn, self.file.tables, session_id))

    async def keep_outline(self, session_id: str, outline: bytes) -> None:
        job = partial(lmdb_outlines.keep, tables=self.file.tables, session_id=session_id, outline=outline)
        await self.file.write(job, len(outline))

    async def sweep(self) -> int:
        await asyncio.to_thread(self.file.environment.reader_check)
        swept = 0
        for removal in await self.file.view(lambda txn: lmdb_sweep.removals(txn, self.file.tables, self.key_memory)):
            with suppress(StateDamaged, IncompatibleStore):  # of a session that stays, to be seen and deleted
                swept += await self.file.write(removal)
        return swept

    async def is_listed(self, tenant: str, session_id: str) -> bool:
        return await self.file.view(lambda txn: self.file.tables.is_listed(txn, tenant, session_id))

    async def list(self, tenant: str, limit: int, before: str | None = None) -> list[Head | Unreadable]:
        return await self.file.view(lambda txn: self.file.tables.page(txn, tenant, limit, before))
