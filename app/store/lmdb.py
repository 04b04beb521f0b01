"""Sessions in one LMDB file: the embedded store.

A save is synced, so that what was answered survives a power cut; `relaxed` leaves that to the operating system. Any
number of processes may use one folder at once: LMDB lets one of them write at a time, and readers see a snapshot. No
call runs on the event loop. The file is not a write map: a full disk is an error, not a signal that kills.
"""

import asyncio
import errno
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Self, TypeAlias, TypeVar

import lmdb

from app.errors import ServiceError, StateDamaged, StoreUnavailable
from app.file_modes import loose
from app.settings import Settings
from app.store import lmdb_format, lmdb_length
from app.store.base import (
    FORMAT,
    Head,
    IncompatibleStore,
    Part,
    Save,
    Saving,
    Stamp,
    Store,
    Unreadable,
    VersionConflict,
)
from app.store.group_commit import GroupCommit
from app.store.keys import Claim
from app.store.lmdb_guard import WAY_OUT, Guard
from app.store.lmdb_tables import Tables, staging_key

TRANSACTION_BYTES = 4 << 20
"""LMDB keeps in memory what a transaction writes, until it commits: a little at a time stays in cache."""
PROBE = b"optim-service probe"
PROBE_BYTES = 1 << 16
"""What `ping` writes under that key: LMDB finds room for a byte in a file that takes no session any more."""
PING_SECONDS = 1.25
"""What a probe waits for the disk: less than the two seconds in which `/readyz` answers."""
READERS = 4
"""Threads that read, so that a small look need not wait for a large state."""
MOST_READERS = 1024

Transaction: TypeAlias = "lmdb.Transaction[memoryview]"
Jobs: TypeAlias = dict[str, "Future[None]"]
"""By the names of pieces, their way into the file."""
Result = TypeVar("Result")


def _size(parts: Sequence[Part]) -> int:
    return sum(piece.size for piece, _ in parts)


class LmdbSaving(Saving):
    """A saving each piece of which is a job of the writer, who puts those that wait into one transaction."""

    def __init__(self, store: "LmdbStore", session_id: str, token: str) -> None:
        super().__init__(store, token)
        self._lmdb = store
        self._session_id = session_id
        self._lock = Lock()
        self._is_open = True
        self._jobs: Jobs = {}

    def write(self, part: Part) -> None:
        with self._lock:
            if self._is_open:
                self._jobs[part[0].name] = self._lmdb.submit_part(self._session_id, self.token, part)

    def _end(self) -> Jobs:
        """Take nothing more; return what is under way, once."""
        with self._lock:
            self._is_open = False
            jobs, self._jobs = self._jobs, {}
        return jobs

    async def save(self, save: Save) -> None:
        await self._lmdb.commit(save, self._end())

    async def discard(self) -> None:
        if self._end():
            with suppress(ServiceError):
                await self._lmdb.unstage(self._session_id, self.token)


class LmdbStore(Store):
    """One object a folder and process: LMDB cannot open a file twice in one process."""

    def __init__(self, folder: Path, map_bytes: int, history_limit: int, *, sync: bool) -> None:
        self.folder = folder
        self.map_bytes = map_bytes
        self.sync = sync
        self.history_limit = history_limit
        self._file = folder / "data.mdb"
        self._guard = Guard(folder)
        self._environment: lmdb.Environment | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        try:
            folder = Path(settings.store.removeprefix("lmdb:")).expanduser()
        except RuntimeError as error:
            raise ValueError(f"OPTIM_STORE={settings.store}: {error}") from None
        return cls(folder, settings.lmdb_map_bytes, settings.history_limit, sync=settings.lmdb_sync == "full")

    # Opening and closing

    async def open(self) -> None:
        await asyncio.to_thread(self._open)

    def _open(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._guard.opening():
                environment = self._open_environment()
        except OSError as error:
            raise StoreUnavailable(f"cannot open the store in {self.folder}: {error}") from error
        self._writer: GroupCommit[Transaction] = GroupCommit(
            lambda: self._begin(environment), TRANSACTION_BYTES, (VersionConflict, ServiceError)
        )
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="store-reader")
        self._probe: Future[bool] | None = None
        self._environment = environment

    def _open_environment(self) -> lmdb.Environment:
        environment = self._open_files()
        try:
            self._guard.hold()
            with (
                environment.begin(write=True, buffers=True) as txn,
                lmdb_length.checked(environment, txn, self._file),
            ):
                if lmdb_format.form_of(txn, self._file) != FORMAT:
                    lmdb_format.mark(txn)
                self._tables = Tables(*(environment.open_db(field.name.encode(), txn=txn) for field in fields(Tables)))
            environment.reader_check()
        except BaseException as error:
            environment.close()
            if isinstance(error, lmdb.Error):
                raise self._translated(error) from error
            raise
        return environment

    def _open_files(self) -> lmdb.Environment:
        try:
            return lmdb.open(
                str(self.folder),
                map_size=self.map_bytes,
                max_dbs=len(fields(Tables)),
                max_readers=MOST_READERS,
                max_spare_txns=READERS,
                sync=self.sync,
                mode=0o600,
            )
        except (lmdb.InvalidError, lmdb.VersionMismatchError) as error:
            raise IncompatibleStore(f"{self._file} is no store of this service, or is damaged") from error
        except lmdb.Error as error:
            raise StoreUnavailable(f"cannot open the store in {self.folder}: {error}") from error

    @contextmanager
    def _begin(self, environment: lmdb.Environment) -> Iterator[Transaction]:
        """A transaction that writes, into the files that are there before and after it."""
        with environment.begin(write=True, buffers=True) as txn:
            if environment.info()["last_txnid"] != txn.id() - 1:  # by the file, and by what the locks know of it
                raise StoreUnavailable(f"the files in {self.folder} were written over while they were open: {WAY_OUT}")
            lmdb_length.note(txn, self._guard.check())
            yield txn
        self._guard.check()

    async def close(self) -> None:
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

    async def warnings(self) -> list[str]:
        """Whom the folder and its files let in."""
        return await asyncio.to_thread(loose, (self.folder, *self._guard.files))

    # The verbs

    async def ping(self) -> None:
        """Write, or see that others do: a probe that waits behind their saves is no sign of a store that is stuck."""
        environment = self._opened()
        saved = environment.info()["last_txnid"]
        if self._probe is None or self._probe.done():
            self._probe = self._writer.submit(lambda txn: txn.put(PROBE, bytes(PROBE_BYTES)), PROBE_BYTES)
        waiting = asyncio.wrap_future(self._probe)
        waiting.add_done_callback(lambda done: done.cancelled() or done.exception())  # maybe nobody waits by then
        await asyncio.wait([waiting], timeout=PING_SECONDS)
        if waiting.done():
            await self._finish(self._probe)
        elif environment.info()["last_txnid"] == saved:
            raise StoreUnavailable(f"the store in {self.folder} wrote nothing within {PING_SECONDS:g} s")

    async def load(self, session_id: str) -> Head | None:
        return await self._view(lambda txn: self._tables.head(txn, session_id))

    async def read(self, head: Head, into: memoryview) -> None:
        await self._view(lambda txn: self._tables.fill(txn, head, into))

    def saving(self, session_id: str, token: str) -> LmdbSaving:
        return LmdbSaving(self, session_id, token)

    def submit_part(self, session_id: str, token: str, part: Part) -> "Future[None]":
        return self._writer.submit(lambda txn: self._tables.stage(txn, session_id, token, part), part[0].size)

    async def unstage(self, session_id: str, token: str) -> None:
        await self._write(lambda txn: self._tables.unstage(txn, staging_key(session_id, token)))

    async def save(self, save: Save) -> None:
        await self.commit(save, {})

    async def commit(self, save: Save, jobs: Jobs) -> None:
        """Do the save, some pieces of which are on their way."""
        self._opened()
        head = save.head
        rest = [part for part in save.fresh if part[0].name not in jobs]
        if jobs or _size(rest) > TRANSACTION_BYTES:
            jobs |= {part[0].name: self.submit_part(head.session_id, head.token, part) for part in rest}
            rest = []
        try:
            await self._write(
                lambda txn: self._tables.commit(txn, save, rest, jobs.keys(), self.history_limit, self.key_memory),
                _size(rest),
            )
        except BaseException as error:
            if jobs and self._environment is not None:
                self._writer.submit(lambda txn: self._tables.unstage(txn, staging_key(head.session_id, head.token)))
            if isinstance(error, StoreUnavailable):
                self._raise_first(jobs)
            raise

    def _raise_first(self, jobs: Jobs) -> None:
        """Raise what kept a piece from being staged, if anything did: the commit knows only that it is missing."""
        for job in jobs.values():
            if isinstance(error := job.exception(), lmdb.Error):
                raise self._translated(error) from error

    async def delete(self, session_id: str, expected: Stamp | None = None) -> bool:
        return await self._write(lambda txn: self._tables.delete(txn, session_id, expected))

    async def used(self, session_id: str, digest: str) -> bytes | None:
        return await self._view(lambda txn: self._tables.used(txn, session_id, digest))

    async def claim(self, claim: Claim) -> Claim:
        return await self._write(lambda txn: self._tables.claim(txn, claim, self.key_memory))

    async def history(self, session_id: str, after: int, limit: int) -> list[bytes]:
        return await self._view(lambda txn: self._tables.history(txn, session_id, after, limit))

    async def latest(self, session_id: str, count: int) -> list[bytes]:
        return await self._view(lambda txn: self._tables.latest(txn, session_id, count))

    async def sweep(self) -> int:
        await asyncio.to_thread(self._opened().reader_check)
        dead, stale, claims = await self._view(lambda txn: self._tables.leftovers(txn, self.key_memory))
        swept = 0
        for row in dead:
            swept += await self._write(partial(self._tables.bury, row=row))
        for key in stale:
            with suppress(StateDamaged, IncompatibleStore):
                swept += await self._write(partial(self._tables.unstage, key=key))
        for claim in claims:
            swept += await self._write(partial(self._tables.forget_claim, row=claim, memory=self.key_memory))
        return swept

    async def is_listed(self, tenant: str, session_id: str) -> bool:
        return await self._view(lambda txn: self._tables.is_listed(txn, tenant, session_id))

    async def list(self, tenant: str, limit: int, before: str | None = None) -> list[Head | Unreadable]:
        return await self._view(lambda txn: self._tables.page(txn, tenant, limit, before))

    # Threads

    async def _view(self, look: Callable[[Transaction], Result]) -> Result:
        """Run `look` on a snapshot. What it returns must not hold on to the snapshot's memory."""
        environment = self._opened()

        def run() -> Result:
            with environment.begin(buffers=True) as txn:
                return look(txn)

        return await self._finish(self._readers.submit(run))

    async def _write(self, job: Callable[[Transaction], Result], size: int = 0) -> Result:
        self._opened()
        return await self._finish(self._writer.submit(job, size))

    def _opened(self) -> lmdb.Environment:
        if self._environment is None:
            raise StoreUnavailable(f"the store in {self.folder} is not open")
        return self._environment

    async def _finish(self, future: "Future[Result]") -> Result:
        """Wait for the thread, also when cancelled: it still uses the caller's buffers."""
        waiting = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiting)
        except lmdb.Error as error:
            raise self._translated(error) from error
        except asyncio.CancelledError:
            while not waiting.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait([waiting])
            waiting.exception()
            raise

    def _translated(self, error: lmdb.Error) -> ServiceError:
        where = f"the store in {self.folder}"
        match error:
            case lmdb.CorruptedError() | lmdb.PageNotFoundError():
                return StateDamaged(f"{where} is damaged ({error}): restore it from a backup")
            case lmdb.MapFullError():
                return StoreUnavailable(f"{where} is full: delete sessions or raise OPTIM_LMDB_MAP_BYTES")
            case lmdb.Error(code=errno.ENOSPC | errno.EDQUOT | errno.EFBIG | errno.EIO):
                return StoreUnavailable(f"{where} cannot be written; is its disk full? {error}")
            case lmdb.PanicError():
                return StoreUnavailable(f"{where} failed to write its last page; restart the service: {error}")
            case _:
                return StoreUnavailable(f"{where} failed: {error}")
