"""A new LMDB folder that a restore fills: a file that gets its name once all is in it. Nothing is overwritten."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields
from pathlib import Path
from typing import Self

import lmdb
import orjson

from app.errors import StateDamaged, StoreUnavailable
from app.private_files import sync_folder
from app.settings import Settings
from app.store import lmdb_format, lmdb_keys, lmdb_thinning
from app.store.envelope import has_expired
from app.store.keys import Claim, UsedKey
from app.store.ledger_envelope import peek
from app.store.lmdb_errors import translated
from app.store.lmdb_file import PART, folder_of
from app.store.lmdb_guard import Guard
from app.store.lmdb_keys import Use
from app.store.lmdb_rows import Environment, Transaction, digest, number
from app.store.lmdb_tables import Tables
from app.store.snapshot import PIECE, About, Member, Target, frames_of

LEFT_OVER = {PART, "lock.mdb"}
"""Files that a folder without a store may have, after an interrupted restore or after its store was moved away."""
TRANSACTION_BYTES = 16 << 20


class LmdbTarget(Target):
    """The folder, which must have no store."""

    kind = "lmdb"
    _environment: Environment

    def __init__(self, folder: Path, map_bytes: int) -> None:
        self.folder = folder
        self._map_bytes = map_bytes
        self._closing = ExitStack()
        self._transaction: Transaction | None = None
        self._size = 0
        self._is_new = False
        """True while the folder is this one's, and goes if the restore fails."""

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(folder_of(settings), settings.lmdb_map_bytes)

    async def begin(self, backup: str) -> None:
        with self._translated():
            if not self.folder.exists():
                self.folder.mkdir(mode=0o700, parents=True)
                self._is_new = True
            guard = Guard(self.folder)
            if guard.is_held():
                raise StoreUnavailable(f"a service has {self.folder} open: stop it first")
            self._closing.enter_context(guard.opening())
            _expect_room(self.folder)
            self._closing.callback((self.folder / PART).unlink, missing_ok=True)
            self._environment = self._closing.enter_context(self._opened())
            self._tables = Tables(*(self._environment.open_db(field.name.encode()) for field in fields(Tables)))

    def _opened(self) -> Environment:
        return lmdb.open(
            str(self.folder / PART),
            subdir=False,
            lock=False,
            sync=False,  # but at the end
            map_size=self._map_bytes,
            max_dbs=len(fields(Tables)),
            mode=0o600,
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except lmdb.Error as error:
            raise translated(error, self.folder) from error

    @contextmanager
    def _writing(self) -> Iterator[Transaction]:
        """Lend the transaction under way, which is committed once it is large."""
        with self._translated():
            if self._transaction is None:
                self._transaction = self._environment.begin(write=True, buffers=True)
            yield self._transaction
            if self._size >= TRANSACTION_BYTES:
                self._commit()

    def _commit(self) -> None:
        transaction, self._transaction, self._size = self._transaction, None, 0
        if transaction is not None:
            transaction.commit()

    async def put(self, about: About, head: bytes, members: Iterator[Member]) -> bool:
        if has_expired(head):
            return False
        session, rows, thinned = digest(about.session_id), 0, list[int]()
        with self._writing() as txn:
            txn.put(session, head, db=self._tables.heads)
            txn.put(bytes.fromhex(about.tenant_digest) + about.session_id.encode(), b"", db=self._tables.index)
        for member in members:
            if member.name == "thinned":
                thinned = orjson.loads(member.data)
            with self._writing() as txn:
                rows += _put(txn, self._tables, about.session_id, member)
                self._size += len(member.data)
        with self._writing() as txn:
            txn.put(session, number(rows), db=self._tables.rows)
            if thinned:
                lmdb_thinning.put(txn, self._tables, session, thinned)
        return True

    async def put_claims(self, member: Member) -> int:
        with self._writing() as txn:
            for (_, tenant, key, created), claim in frames_of(member):
                txn.put(bytes.fromhex(tenant) + bytes.fromhex(key), claim, db=self._tables.claims)
                with suppress(StateDamaged):
                    session = digest(Claim.decode("", "", claim).session_id)
                    if created is not None:
                        txn.put(session, repr(created).encode(), db=self._tables.claims)
        return 0

    async def finish(self) -> None:
        with self._translated():
            self._commit()
            with self._environment.begin(write=True, buffers=True) as txn:
                lmdb_format.mark(txn)
            self._environment.sync(True)
            self._environment.close()
        (self.folder / PART).rename(self.folder / "data.mdb")
        sync_folder(self.folder)
        if self._is_new:
            sync_folder(self.folder.parent)
        self._is_new = False

    async def close(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.abort()
        self._closing.close()
        if self._is_new:
            self.folder.rmdir()


def _put(transaction: Transaction, tables: Tables, session_id: str, member: Member) -> int:
    """Put a member of a session; return how many rows of the history it has."""
    session = digest(session_id)
    match member.kind:
        case "ledger":
            _put_ledger(transaction, tables, session_id, bytes(member.data))
        case "history":
            frames = list(frames_of(member))
            for (step, version), body in frames:
                transaction.put(session + number(step) + number(version), body, db=tables.rows)
            return len(frames)
        case "marks":
            for (version, kind), body in frames_of(member):
                transaction.put(session + number(version), b"%s %s" % (kind.encode(), body), db=tables.marks)
        case "keys":
            _put_keys(transaction, tables, session_id, member)
        case "piece":
            transaction.put(session + member.name.removeprefix(PIECE).encode(), member.data, db=tables.pieces)
    return 0


def _put_ledger(transaction: Transaction, tables: Tables, session_id: str, ledger: bytes) -> None:
    session = digest(session_id)
    transaction.put(session, ledger, db=tables.ledgers)
    with suppress(StateDamaged):
        due_at = peek(session_id, ledger).moment
        if due_at is not None:
            transaction.put(session, f"{due_at!r} {session_id}".encode(), db=tables.due)


def _put_keys(transaction: Transaction, tables: Tables, session_id: str, member: Member) -> None:
    session = digest(session_id)
    first = lmdb_keys.last_number(transaction, tables, session) + 1
    for i, ((used_at, key), row) in enumerate(frames_of(member), first):
        lmdb_keys.put(transaction, tables, session, Use(i, used_at, UsedKey(key, row)))


def _expect_room(folder: Path) -> None:
    if found := sorted({file.name for file in folder.iterdir()} - LEFT_OVER):
        raise StoreUnavailable(
            f"{folder} is not empty, and nothing is overwritten: it has {', '.join(found[:3])}; name another folder, "
            f"or move this one away: mv {folder} {folder}.before"
        )
    for name in LEFT_OVER:
        (folder / name).unlink(missing_ok=True)
