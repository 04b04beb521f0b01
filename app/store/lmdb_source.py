"""An LMDB folder that a backup reads: all sessions as of one moment, in one transaction."""

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, suppress
from dataclasses import fields
from pathlib import Path
from typing import Self

import lmdb
import orjson

from app.errors import ServiceError, StateDamaged, StoreUnavailable
from app.settings import Settings
from app.store import ledger_envelope, lmdb_length
from app.store.envelope import decode
from app.store.keys import Claim
from app.store.lmdb_file import MOST_READERS, folder_of
from app.store.lmdb_format import format_of
from app.store.lmdb_guard import Guard
from app.store.lmdb_keys import TIME
from app.store.lmdb_rows import Environment, Table, Transaction, ascending, digest
from app.store.lmdb_tables import Tables
from app.store.lmdb_thinning import numbers_of
from app.store.piece import Piece
from app.store.snapshot import PIECE, About, Frame, Member, Source, framed


class LmdbSource(Source):
    """The store in a folder, which services may have open."""

    kind = "lmdb"
    is_of_one_moment = True
    tables: Tables
    transaction: Transaction

    def __init__(self, folder: Path, map_bytes: int) -> None:
        self.folder = folder
        self._map_bytes = map_bytes
        self._tenants: dict[bytes, str] = {}
        """The names of the tenants, by their digests."""

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(folder_of(settings), settings.lmdb_map_bytes)

    async def __aenter__(self) -> Self:
        if not (self.folder / "data.mdb").is_file():
            raise FileNotFoundError(f"no store in {self.folder}: data.mdb is missing")
        with ExitStack() as stack:
            self._environment = self._open(stack)
            self.tables = _tables(self._environment)
            self.transaction = stack.enter_context(self._environment.begin(buffers=True))
            self._closing = stack.pop_all()
        return self

    def _open(self, stack: ExitStack) -> Environment:
        """Open the folder like a service, but write nothing: neither its format nor its tables."""
        guard = Guard(self.folder)
        with guard.opening():
            environment = _environment(self.folder, self._map_bytes)
            stack.callback(guard.close)
            stack.callback(environment.close)
            guard.hold()
            file = self.folder / "data.mdb"
            with environment.begin(write=True, buffers=True) as txn, lmdb_length.checked(environment, txn, file):
                found = format_of(txn, file)
        if found is None:
            raise StoreUnavailable(f"{file} is empty")
        self.format = found
        return environment

    async def __aexit__(self, *_: object) -> None:
        self._closing.close()

    async def sessions(self) -> AsyncIterator[About]:
        for row, _ in ascending(self.transaction, self.tables.index, b""):
            tenant_digest, session_id = row[:16], row[16:].decode()
            if not self.tables.is_dead(self.transaction, session_id):
                yield About(session_id, self._tenant(tenant_digest), tenant_digest.hex())

    def _tenant(self, tenant_digest: bytes) -> str | None:
        """Return the name of a tenant; `None` if no head of its sessions can be read."""
        for row, _ in ascending(self.transaction, self.tables.index, tenant_digest):
            if tenant_digest in self._tenants:
                break
            session_id = row[16:].decode()
            with suppress(ServiceError):
                tenant = decode(session_id, self._get(digest(session_id), self.tables.heads) or b"").tenant
                self._tenants[digest(tenant)] = tenant
        return self._tenants.get(tenant_digest)

    def _get(self, key: bytes, table: Table) -> bytes | None:
        data = self.transaction.get(key, db=table) if table else None
        return None if data is None else bytes(data)

    async def members(self, about: About) -> AsyncIterator[Member]:
        session_id, session = about.session_id, digest(about.session_id)
        head, ledger = self._get(session, self.tables.heads), self._get(session, self.tables.ledgers)
        if head is None:
            return
        yield about.member()
        yield Member("head", head)
        if ledger is not None:
            yield Member("ledger", ledger)
        async for member in framed("history", self._history(session)):
            yield member
        if thinned := self._get(session, self.tables.thinned):
            yield Member("thinned", orjson.dumps(numbers_of(thinned)))
        async for member in framed("marks", self._marks(session)):
            yield member
        async for member in framed("keys", self._keys(session)):
            yield member
        for piece in _pieces(session_id, head, ledger):
            data = self._get(session + piece.name.encode(), self.tables.pieces)
            if data is not None:
                yield Member(PIECE + piece.name, data)

    async def _history(self, session: bytes) -> AsyncIterator[Frame]:
        for key, body in self._rows(self.tables.rows, session):
            if key != session:
                yield Frame((int.from_bytes(key[16:24], "big"), int.from_bytes(key[24:], "big")), bytes(body))

    def _rows(self, table: Table, prefix: bytes) -> Iterator[tuple[bytes, memoryview]]:
        return ascending(self.transaction, table, prefix) if table else iter(())

    async def _marks(self, session: bytes) -> AsyncIterator[Frame]:
        for key, value in self._rows(self.tables.marks, session):
            kind, _, body = bytes(value).partition(b" ")
            yield Frame((int.from_bytes(key[16:], "big"), kind.decode()), body)

    async def _keys(self, session: bytes) -> AsyncIterator[Frame]:
        for _, value in self._rows(self.tables.keys, session + b"n"):
            (used_at,), key = TIME.unpack(value[: TIME.size]), bytes(value[TIME.size :])
            row = self._get(session + b"k" + key, self.tables.keys)
            if row is not None:
                yield Frame((used_at, key.hex()), row)

    def claims(self) -> AsyncIterator[Member]:
        return framed("claims", self._claims())

    async def _claims(self) -> AsyncIterator[Frame]:
        for key, value in self._rows(self.tables.claims, b""):
            if len(key) == 32:
                tenant, claim, created = key[:16], bytes(value), None
                with suppress(StateDamaged):
                    created = self._get(digest(Claim.decode("", "", claim).session_id), self.tables.claims)
                at = None if created is None else float(created)
                yield Frame((self._tenants.get(tenant), tenant.hex(), key[16:].hex(), at), claim)


def _tables(environment: Environment) -> Tables:
    """Return the tables of the file. One of an earlier version has fewer: nothing stands for the others."""
    found: dict[str, Table] = {}
    for field in fields(Tables):
        with suppress(lmdb.NotFoundError):
            found[field.name] = environment.open_db(field.name.encode(), create=False)
    return Tables(*(found.get(field.name) for field in fields(Tables)))  # type: ignore[arg-type]


def _environment(folder: Path, map_bytes: int) -> Environment:
    try:
        return lmdb.open(
            str(folder),
            create=False,
            map_size=map_bytes,
            max_dbs=len(fields(Tables)),
            max_readers=MOST_READERS,  # as a service: the first to open the folder decides for all
            mode=0o600,
        )
    except lmdb.Error as error:
        raise StoreUnavailable(f"{folder} is no store of this service, or is damaged: {error}") from error


def _pieces(session_id: str, head: bytes, ledger: bytes | None) -> tuple[Piece, ...]:
    """Return the pieces that head and ledger name, as far as they can be read."""
    found: tuple[Piece, ...] = ()
    with suppress(ServiceError):
        found += decode(session_id, head).kept
    with suppress(ServiceError):
        found += ledger_envelope.decode(session_id, ledger).pieces if ledger is not None else ()
    return found
