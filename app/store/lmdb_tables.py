"""The tables of an LMDB file, and the sessions in them: heads, the tenants' index, pieces.

    heads    digest(session)                an envelope
    index    digest(tenant) session         nothing
    pieces   digest(session) name           a piece's bytes
    rows     digest(session) step version   a row of the history (`lmdb_history`)
             digest(session)                the number of rows
    marks    digest(session) version        a mark: its kind, a space, its body (`lmdb_marks`)
    thinned  digest(session)                how far its history is thinned (`lmdb_thinning`)
    outlines digest(session)                the outline of its history (`lmdb_outlines`)
    staging  digest(session) token          pieces of a save before its last transaction (`lmdb_staging`):
                                            start time, session, names
    keys     as in `lmdb_keys`
    claims   as in `lmdb_claims`
    ledgers  digest(session)                a ledger's envelope (`lmdb_ledgers`)
    due      digest(session)                the time at which its ledger is due, and the session

A digest stands for each name, because an LMDB key has at most 511 bytes. Each function here, and in the modules named
above, runs inside one transaction. One that raises `VersionConflict` or a `ServiceError` has changed nothing.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from app.errors import StateDamaged
from app.store.base import Head, IncompatibleStore, Unreadable
from app.store.envelope import decode, has_expired, listed, peek
from app.store.lmdb_rows import Table, Transaction, ascending, descending, digest, drop
from app.store.piece import Part
from app.store.stamp import Stamp, VersionConflict

ABOVE_ALL = b"\xff"
"""Sorts above every session, tenant and step in a key: UTF-8 never has this byte, and no step is so great."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The named databases of the file; a field's name is the database's."""

    heads: Table
    index: Table
    pieces: Table
    rows: Table
    staging: Table
    keys: Table
    claims: Table
    ledgers: Table
    due: Table
    marks: Table
    thinned: Table
    outlines: Table

    # Reading

    def held(self, transaction: Transaction, session_id: str) -> Stamp | None:
        """Return the stamp of a session that exists and has not expired."""
        data = transaction.get(digest(session_id), db=self.heads)
        if data is None:
            return None
        label = peek(session_id, data)
        return None if label.expired else label.stamp

    def head(self, transaction: Transaction, session_id: str) -> Head | None:
        data = transaction.get(digest(session_id), db=self.heads)
        return None if data is None or has_expired(data) else decode(session_id, bytes(data))

    def is_dead(self, transaction: Transaction, session_id: str) -> bool:
        """Return whether the session does not exist or has expired."""
        data = transaction.get(digest(session_id), db=self.heads)
        return data is None or has_expired(data)

    def fill(self, transaction: Transaction, head: Head, into: memoryview) -> None:
        """Fill `into` with the pieces of a head, each checked."""
        if self.held(transaction, head.session_id) != head.stamp:
            raise VersionConflict(f"session {head.session_id} is no longer at {head.stamp}")
        session, offset = digest(head.session_id), 0
        for piece in head.pieces:
            data = transaction.get(session + piece.name.encode(), db=self.pieces)
            piece.verify(head.session_id, data)
            into[offset : offset + piece.size] = data or b""
            offset += piece.size

    def is_listed(self, transaction: Transaction, tenant: str, session_id: str) -> bool:
        return transaction.get(digest(tenant) + session_id.encode(), db=self.index) is not None

    def page(self, transaction: Transaction, tenant: str, limit: int, before: str | None) -> list[Head | Unreadable]:
        """Return a page of the tenant's sessions, greatest id first."""
        heads: list[Head | Unreadable] = []
        for key in descending(transaction, self.index, digest(tenant), before.encode() if before else ABOVE_ALL):
            if len(heads) >= limit:
                break
            session_id = key[16:].decode()
            heads += listed(tenant, session_id, transaction.get(digest(session_id), db=self.heads))
        return heads

    # Writing

    def put_pieces(self, transaction: Transaction, session_id: str, parts: Sequence[Part]) -> None:
        session = digest(session_id)
        for piece, view in parts:
            transaction.put(session + piece.name.encode(), view, db=self.pieces)

    def delete_pieces(self, transaction: Transaction, session_id: str, names: Sequence[str]) -> int:
        """Delete pieces by name; return how many existed."""
        session = digest(session_id)
        return sum(transaction.delete(session + name.encode(), db=self.pieces) for name in names)

    def delete(self, transaction: Transaction, session_id: str, expected: Stamp | None) -> bool:
        """Delete a session, as `Store.delete` promises."""
        dead = self.is_dead(transaction, session_id)
        if not dead and expected is not None and self.held(transaction, session_id) != expected:
            raise VersionConflict(f"session {session_id} is no longer at {expected}")
        self.purge(transaction, session_id)
        return not dead

    def purge(self, transaction: Transaction, session_id: str, kept: Collection[str] = ()) -> None:
        """Delete all that belongs to a session, except pieces with the names `kept`.

        A damaged session's row of the index is left for the sweep.
        """
        session = digest(session_id)
        data = transaction.get(session, db=self.heads)
        if data is not None:
            with suppress(StateDamaged, IncompatibleStore):
                tenant = decode(session_id, bytes(data)).tenant
                transaction.delete(digest(tenant) + session_id.encode(), db=self.index)
            transaction.delete(session, db=self.heads)
        names = [key[16:].decode() for key, _ in ascending(transaction, self.pieces, session)]
        self.delete_pieces(transaction, session_id, [name for name in names if name not in kept])
        histories = self.rows, self.marks, self.thinned, self.outlines
        for table in (*histories, self.staging, self.keys, self.ledgers, self.due):
            drop(transaction, table, session)
