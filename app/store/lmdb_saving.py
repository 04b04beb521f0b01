"""One save to LMDB: its pieces on their way to the writer, and its commit."""

from collections.abc import Collection, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from threading import Lock
from typing import Protocol, TypeAlias

import lmdb

from app.errors import ServiceError, StoreUnavailable
from app.store import lmdb_file, lmdb_ledgers, lmdb_save, lmdb_staging
from app.store.base import Save, Saving, Store
from app.store.ledger import LedgerSave
from app.store.lmdb_errors import translated
from app.store.lmdb_file import LmdbFile
from app.store.lmdb_rows import Transaction
from app.store.piece import Part

Jobs: TypeAlias = dict[str, "Future[None]"]
"""The writes of pieces, by the pieces' names."""


class Commit(Protocol):
    """The last transaction of a save. `rest` are the parts to write, `staged` the names of those that are written."""

    def __call__(self, transaction: Transaction, rest: Sequence[Part], staged: Collection[str]) -> None: ...


class LmdbSaving(Saving):
    """A saving that makes each piece a job of the writer, which puts waiting jobs into one transaction."""

    def __init__(self, store: Store, file: LmdbFile, session_id: str, token: str) -> None:
        super().__init__(store, token)
        self._file = file
        self._session_id = session_id
        self._lock = Lock()
        self._is_open = True
        self._jobs: Jobs = {}

    def write(self, part: Part) -> None:
        with self._lock:
            if not self._is_open:
                return
            with suppress(StoreUnavailable):  # the save tells that the store is closed
                self._jobs[part[0].name] = self._submit(part)

    def _submit(self, part: Part) -> "Future[None]":
        def stage(txn: Transaction) -> None:
            lmdb_staging.stage(txn, self._file.tables, self._session_id, self.token, part)

        return self._file.submit(stage, part[0].size)

    def _end(self) -> Jobs:
        """Take no more pieces; return the jobs under way. The second call returns none."""
        with self._lock:
            self._is_open = False
            jobs, self._jobs = self._jobs, {}
        return jobs

    async def discard(self) -> None:
        if self._end():
            with suppress(ServiceError):
                await self._file.write(self._unstage)

    def _unstage(self, transaction: Transaction) -> int:
        key = lmdb_staging.staging_key(self._session_id, self.token)
        return lmdb_staging.unstage(transaction, self._file.tables, key)

    async def save(self, save: Save) -> None:
        def commit(transaction: Transaction, rest: Sequence[Part], staged: Collection[str]) -> None:
            limits = lmdb_save.Limits(self._store.history_limit, self._store.key_memory)
            lmdb_save.commit(transaction, self._file.tables, save, rest, staged, limits)

        await self._finish(save.all_fresh, commit)

    async def save_ledger(self, save: LedgerSave) -> None:
        """Save a ledger, as `LedgerStore.save_ledger` promises."""

        def commit(transaction: Transaction, rest: Sequence[Part], staged: Collection[str]) -> None:
            lmdb_ledgers.commit(transaction, self._file.tables, save, rest, staged)

        await self._finish(save.parts, commit)

    async def _finish(self, parts: Sequence[Part], commit: Commit) -> None:
        """Write the parts that are not under way yet, in transactions of their own if they are large, and commit."""
        jobs = self._end()
        rest = [part for part in parts if part[0].name not in jobs]
        if jobs or _size(rest) > lmdb_file.TRANSACTION_BYTES:
            jobs |= {part[0].name: self._submit(part) for part in rest}
            rest = []
        try:
            await self._file.write(partial(commit, rest=rest, staged=jobs.keys()), _size(rest))
        except BaseException as error:
            if jobs:
                with suppress(StoreUnavailable):
                    self._file.submit(self._unstage)
            if isinstance(error, StoreUnavailable):
                self._raise_first(jobs)
            raise

    def _raise_first(self, jobs: Jobs) -> None:
        """Raise the error that kept a piece from being staged, if any: the commit knows only that it is missing."""
        for job in jobs.values():
            if isinstance(error := job.exception(), lmdb.Error):
                raise translated(error, self._file.folder) from error


def _size(parts: Sequence[Part]) -> int:
    return sum(piece.size for piece, _ in parts)
