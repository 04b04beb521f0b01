"""Staged pieces in an LMDB file: those of a large save before its last transaction.

They are in the table of pieces, but no head and no ledger names them, and a row of `staging` lists them for the sweep.
"""

import time
from collections.abc import Collection

from app.errors import StoreUnavailable
from app.store import ledger_envelope
from app.store.lmdb_rows import Transaction, ascending, digest
from app.store.lmdb_tables import Tables
from app.store.piece import Part

STAGED_SECONDS = 3600.0
"""The time that a large save may take; what is older was left by a process that died."""


def staging_key(session_id: str, token: str) -> bytes:
    return digest(session_id) + token.encode()


def stage(transaction: Transaction, tables: Tables, session_id: str, token: str, part: Part) -> None:
    """Write a piece that nothing names yet, and note it for the sweep."""
    key = staging_key(session_id, token)
    note = transaction.get(key, db=tables.staging)
    begun = f"{time.time()!r}\n{session_id}".encode() if note is None else bytes(note)
    transaction.put(key, b"%s\n%s" % (begun, part[0].name.encode()), db=tables.staging)
    tables.put_pieces(transaction, session_id, [part])


def expect_staged(
    transaction: Transaction, tables: Tables, session_id: str, token: str, names: Collection[str]
) -> None:
    """Raise `StoreUnavailable` unless all these pieces of a save are still staged."""
    note = transaction.get(staging_key(session_id, token), b"", db=tables.staging)
    if not set(bytes(note).decode().split("\n")[2:]).issuperset(names):
        raise StoreUnavailable(f"session {session_id}: its save took over {STAGED_SECONDS:.0f} s; send it again")


def unstage(transaction: Transaction, tables: Tables, key: bytes) -> int:
    """Remove the staged pieces of a save that did not commit, except those that a head or a ledger names.

    Returns how many there were.
    """
    note = transaction.get(key, db=tables.staging)
    if note is None:
        return 0
    _, session_id, *names = bytes(note).decode().split("\n")
    named = _named(transaction, tables, session_id)
    transaction.delete(key, db=tables.staging)
    return tables.delete_pieces(transaction, session_id, [name for name in names if name not in named])


def _named(transaction: Transaction, tables: Tables, session_id: str) -> set[str]:
    head = tables.head(transaction, session_id)
    ledger = transaction.get(digest(session_id), db=tables.ledgers) if head else None
    waiting = ledger_envelope.decode(session_id, bytes(ledger)).pieces if ledger else ()
    return {piece.name for piece in (*(head.kept if head else ()), *waiting)}


def abandoned(transaction: Transaction, tables: Tables) -> list[bytes]:
    """Return the keys of `staging` whose saves began too long ago."""
    oldest = time.time() - STAGED_SECONDS
    notes = ascending(transaction, tables.staging, b"")
    return [key for key, note in notes if float(bytes(note).partition(b"\n")[0]) < oldest]
