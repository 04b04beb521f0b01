"""Backup and restore of an LMDB folder: a copy of one moment, checked piece by piece. Nothing is overwritten."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path

import lmdb

from app.errors import ServiceError, StateDamaged, StoreUnavailable
from app.store import ledger_envelope, lmdb_length
from app.store.envelope import decode
from app.store.lmdb_format import format_of
from app.store.lmdb_guard import Guard
from app.store.lmdb_rows import ascending, digest
from app.store.lmdb_tables import Tables
from app.store.piece import Piece

PART = "data.mdb.part"
"""The name of an unfinished copy."""
LEFT_OVER = {PART, "lock.mdb"}
"""Files that a folder without a store may have, after an interrupted copy or after its store was moved away."""


@dataclass(frozen=True, slots=True)
class Copied:
    """The content of a copy. It has damaged sessions as they are."""

    sessions: int
    size: int
    damaged: tuple[str, ...]


def backup(folder: Path, to: Path, map_bytes: int) -> Copied:
    """Copy the store in `folder`, which services may have open, into the folder `to`, which must be new or empty."""
    _expect_store(folder)
    with _room_for_copy(to) as part, _opened_beside_others(folder, map_bytes) as environment:
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            environment.copyfd(file, compact=True)
            os.fsync(file)
        finally:
            os.close(file)
        return _checked(part, map_bytes)


def restore(source: Path, folder: Path, map_bytes: int) -> Copied:
    """Put the copy in `source` into `folder`, which must have no store."""
    _expect_store(source)
    if Guard(source).is_held():
        raise StoreUnavailable(f"a service has {source} open: stop it, or make a backup of it and restore that")
    with _room_for_copy(folder) as part:
        file = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with (source / "data.mdb").open("rb") as read, os.fdopen(file, "wb") as written:
            shutil.copyfileobj(read, written, 1 << 20)
            written.flush()
            os.fsync(written.fileno())
        return _checked(part, map_bytes)


def _expect_store(folder: Path) -> None:
    if not (folder / "data.mdb").is_file():
        raise StoreUnavailable(f"no store in {folder}: data.mdb is missing")


@contextmanager
def _room_for_copy(folder: Path) -> Iterator[Path]:
    """Lend a path for the copy: it is renamed once whole, or removed. Nobody opens the folder meanwhile."""
    is_new = not folder.exists()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    guard, part = Guard(folder), folder / PART
    try:
        if guard.is_held():
            raise StoreUnavailable(f"a service has {folder} open: stop it first")
        with guard.opening():
            _expect_room(folder)
            yield part
            part.rename(folder / "data.mdb")
            _sync(folder)
    except BaseException:
        part.unlink(missing_ok=True)
        if is_new:
            folder.rmdir()
        raise


def _expect_room(folder: Path) -> None:
    if found := sorted({file.name for file in folder.iterdir()} - LEFT_OVER):
        raise StoreUnavailable(
            f"{folder} is not empty, and nothing is overwritten: it has {', '.join(found[:3])}; name another folder, "
            f"or move this one away: mv {folder} {folder}.before"
        )
    for name in LEFT_OVER:
        (folder / name).unlink(missing_ok=True)


@contextmanager
def _opened_beside_others(folder: Path, map_bytes: int) -> Iterator[lmdb.Environment]:
    """Open the store like a service, but write nothing: neither its format nor its tables."""
    guard = Guard(folder)
    with guard.opening():
        environment = _environment(folder, map_bytes)
        try:
            guard.hold()
            _expect_whole(environment, folder / "data.mdb")
        except BaseException:
            environment.close()
            raise
    try:
        yield environment
    except lmdb.Error as error:
        raise StoreUnavailable(f"the store in {folder} cannot be copied: {error}") from error
    finally:
        environment.close()
        guard.close()


def _environment(path: Path, map_bytes: int) -> lmdb.Environment:
    """Open a folder with its locks, or a file that nobody else has open."""
    alone = path.is_file()
    try:
        return lmdb.open(
            str(path),
            subdir=not alone,
            lock=not alone,
            create=False,
            map_size=map_bytes,
            max_dbs=len(fields(Tables)),
            mode=0o600,
        )
    except lmdb.Error as error:
        raise StoreUnavailable(f"{path} is no store of this service, or is damaged: {error}") from error


def _expect_whole(environment: lmdb.Environment, file: Path) -> None:
    """Raise `StateDamaged` for a truncated file, and `IncompatibleStore` for one that this version cannot read."""
    with environment.begin(write=True, buffers=True) as txn, lmdb_length.checked(environment, txn, file):
        if format_of(txn, file) is None:
            raise StoreUnavailable(f"{file} is empty")


def _checked(file: Path, map_bytes: int) -> Copied:
    """Read every piece of a copy; return its content."""
    environment = _environment(file, map_bytes)
    try:
        _expect_whole(environment, file)
        tables = _Sessions(*(environment.open_db(name, create=False) for name in (b"index", b"heads", b"pieces")))
        with suppress(lmdb.NotFoundError):  # in a store of an earlier version
            tables.ledgers = environment.open_db(b"ledgers", create=False)
        with environment.begin(buffers=True) as txn:
            ids = [bytes(row[16:]).decode() for row, _ in ascending(txn, tables.index, b"")]
            whole = [(session_id, tables.is_whole(txn, session_id)) for session_id in ids]
    except lmdb.Error as error:
        raise StateDamaged(f"{file} cannot be read: {error}") from error
    finally:
        environment.close()
    damaged = tuple(session_id for session_id, is_whole in whole if is_whole is False)
    return Copied(sum(is_whole is not None for _, is_whole in whole), file.stat().st_size, damaged)


@dataclass(slots=True)
class _Sessions:
    """The tables of the sessions, their pieces and their ledgers."""

    index: lmdb._Database
    heads: lmdb._Database
    pieces: lmdb._Database
    ledgers: lmdb._Database | None = None

    def is_whole(self, transaction: "lmdb.Transaction[memoryview]", session_id: str) -> bool | None:
        """Return whether each piece of a session is what was written; `None` if the session does not exist any more."""
        session = digest(session_id)
        data = transaction.get(session, db=self.heads)
        if data is None:
            return None
        try:
            for piece in (*decode(session_id, bytes(data)).kept, *self._waiting(transaction, session_id)):
                piece.verify(session_id, transaction.get(session + piece.name.encode(), db=self.pieces))
        except ServiceError:
            return False
        return True

    def _waiting(self, transaction: "lmdb.Transaction[memoryview]", session_id: str) -> tuple[Piece, ...]:
        """Return the pieces of a session's ledger."""
        data = transaction.get(digest(session_id), db=self.ledgers) if self.ledgers else None
        return ledger_envelope.decode(session_id, bytes(data)).pieces if data else ()


def _sync(folder: Path) -> None:
    """Sync the folder: the names of its files are on the disk then."""
    if hasattr(os, "O_DIRECTORY"):
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)
