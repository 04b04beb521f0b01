"""An open LMDB file: its transactions, and the threads that run them.

No transaction runs on the event loop. One thread writes, a few read snapshots. The file is not a write map: a full disk
is an error, not a signal that kills.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TypeVar

import lmdb

from app.errors import ServiceError, StoreUnavailable
from app.metrics.families import Histogram
from app.settings import Settings
from app.store import lmdb_format, lmdb_length
from app.store.base import IncompatibleStore
from app.store.formats import STORE_FORMAT
from app.store.group_commit import GroupCommit
from app.store.lmdb_errors import translated, unopened
from app.store.lmdb_guard import WAY_OUT, Guard
from app.store.lmdb_rows import Environment, Transaction
from app.store.lmdb_tables import Tables
from app.store.lmdb_wait import Wait
from app.store.stamp import VersionConflict

TRANSACTION_BYTES = 4 << 20
"""The size of a write transaction. LMDB holds what it writes in memory until it commits: this much stays in cache."""
READERS = 4
"""Threads that read, so that a small read need not wait for a large state."""
MOST_READERS = 1024
FILE = "data.mdb"
PART = f"{FILE}.part"
"""The name of a file that a restore has not finished."""
BATCH_JOBS = (1, 2, 4, 8, 16, 32, 64, 128, 256)

Result = TypeVar("Result")


class LmdbFile:
    """The file of one folder. LMDB cannot open a file twice in one process."""

    tables: Tables
    """The tables of the file, once it is open."""

    def __init__(self, folder: Path, map_bytes: int, *, sync: bool) -> None:
        self.folder = folder
        self.map_bytes = map_bytes
        self.sync = sync
        self._file = folder / FILE
        self._guard = Guard(folder)
        self._environment: Environment | None = None
        self.batches = Histogram("optim_commit_jobs", "Jobs of each transaction of the store.", BATCH_JOBS)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Return the folder and the files in it."""
        return self.folder, *self._guard.files

    @property
    def environment(self) -> Environment:
        """Return LMDB's environment. Raises `StoreUnavailable` if the file is not open."""
        if self._environment is None:
            raise StoreUnavailable(f"the store in {self.folder} is not open")
        return self._environment

    def open(self) -> None:
        """Open the file, or create it. Blocks."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._guard.opening():
                environment = self._open_environment()
        except OSError as error:
            raise unopened(error, self.folder) from error
        self._writer: GroupCommit[Transaction] = GroupCommit(
            lambda: self._begin(environment),
            TRANSACTION_BYTES,
            (VersionConflict, ServiceError),
            self.batches.of().observe,
        )
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._environment = environment

    def _open_environment(self) -> Environment:
        if not self._file.exists() and (part := self.folder / PART).exists():
            raise IncompatibleStore(
                f"a restore into {self.folder} is not done: run `optim restore` with the same backup again, or remove "
                f"{part}"
            )
        environment = _opened(self.folder, self.map_bytes, sync=self.sync)
        try:
            self._guard.hold()
            with (
                environment.begin(write=True, buffers=True) as txn,
                lmdb_length.checked(environment, txn, self._file),
            ):
                if lmdb_format.format_of(txn, self._file) != STORE_FORMAT:
                    lmdb_format.mark(txn)
                self.tables = Tables(*(environment.open_db(field.name.encode(), txn=txn) for field in fields(Tables)))
            environment.reader_check()
        except BaseException as error:
            environment.close()
            if isinstance(error, lmdb.Error):
                raise translated(error, self.folder) from error
            raise
        return environment

    @property
    def waiting(self) -> int | None:
        """Return the number of jobs that wait for a transaction."""
        return None if self._environment is None else self._writer.waiting

    @contextmanager
    def _begin(self, environment: Environment) -> Iterator[Transaction]:
        """Lend a transaction that writes, into files that are the opened ones before and after it."""
        with environment.begin(write=True, buffers=True) as txn:
            if environment.info()["last_txnid"] != txn.id() - 1:  # by the file, and by what the locks know of it
                raise StoreUnavailable(f"the files in {self.folder} were written over while they were open: {WAY_OUT}")
            lmdb_length.note(txn, self._guard.check())
            yield txn
        self._guard.check()

    async def close(self) -> None:
        """Finish all writes and reads, then close the file."""
        environment, self._environment = self._environment, None
        if environment is not None:
            self._writer.submit(lambda _: None)  # its transaction notes the length that the file has in the end
            await asyncio.to_thread(self._writer.close)
            await asyncio.to_thread(self._readers.shutdown)
            try:
                if not self.sync:
                    await asyncio.to_thread(environment.sync, True)
            finally:
                environment.close()
                self._guard.close()

    async def view(self, look: Callable[[Transaction], Result]) -> Result:
        """Run `look` on a snapshot. Its result must not hold on to the snapshot's memory."""
        environment = self.environment

        def run() -> Result:
            with environment.begin(buffers=True) as txn:
                return look(txn)

        return await self.finish(self._readers.submit(run))

    async def write(self, job: Callable[[Transaction], Result], size: int = 0) -> Result:
        """Run a job in a transaction that writes, about `size` bytes; return once it is committed."""
        answer: Future[Result] = Future()
        wait = Wait(answer)
        self.submit(job, size, answer)
        del answer
        return await self._result(wait)

    def submit(
        self, job: Callable[[Transaction], Result], size: int = 0, answer: "Future[Result] | None" = None
    ) -> "Future[Result]":
        """Give a job to the thread that writes, which runs jobs in the order given.

        Raises `StoreUnavailable` if the file is not open.
        """
        _ = self.environment
        try:
            return self._writer.submit(job, size, answer)
        except RuntimeError:  # closed by the event loop since, while a thread is here
            raise StoreUnavailable(f"the store in {self.folder} is not open") from None

    async def finish(self, future: "Future[Result]") -> Result:
        """Wait for the thread, also when cancelled: it still uses the caller's buffers."""
        wait = Wait(future)
        del future
        return await self._result(wait)

    async def _result(self, wait: Wait[Result]) -> Result:
        try:
            return await wait.result()
        except lmdb.Error as error:
            raise translated(error, self.folder) from error


def folder_of(settings: Settings) -> Path:
    """Return the folder that `OPTIM_STORE` names. Raises `ValueError` if it begins with the home of an unknown user."""
    try:
        return Path(settings.store.removeprefix("lmdb:")).expanduser()
    except RuntimeError as error:
        raise ValueError(f"OPTIM_STORE={settings.store}: {error}") from None


def _opened(folder: Path, map_bytes: int, *, sync: bool) -> Environment:
    try:
        return lmdb.open(
            str(folder),
            map_size=map_bytes,
            max_dbs=len(fields(Tables)),
            max_readers=MOST_READERS,
            max_spare_txns=READERS,
            sync=sync,
            mode=0o600,
        )
    except (lmdb.InvalidError, lmdb.VersionMismatchError) as error:
        raise IncompatibleStore(f"{folder / FILE} is no store of this service, or is damaged") from error
    except lmdb.Error as error:
        raise unopened(error, folder) from error
