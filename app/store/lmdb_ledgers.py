"""The ledgers in an LMDB file.

A large contribution is staged as the pieces of a large save are (`lmdb_staging`); the last transaction commits.
"""

from collections.abc import Collection, Sequence

from app.store import lmdb_history, lmdb_staging
from app.store.ledger import Due, Ledger, LedgerSave
from app.store.ledger_envelope import decode, encode, peek
from app.store.lmdb_rows import Transaction, ascending, digest
from app.store.lmdb_tables import Tables
from app.store.piece import Part, Piece
from app.store.stamp import Stamp, VersionConflict, expect


def read(transaction: Transaction, tables: Tables, session_id: str) -> Ledger | None:
    """Return a session's ledger, as `LedgerStore.ledger` promises."""
    data = transaction.get(digest(session_id), db=tables.ledgers)
    return None if data is None or tables.is_dead(transaction, session_id) else decode(session_id, bytes(data))


def held(transaction: Transaction, tables: Tables, session_id: str) -> Stamp | None:
    """Return the stamp of the ledger of a session that exists and has not expired."""
    data = transaction.get(digest(session_id), db=tables.ledgers)
    return None if data is None or tables.is_dead(transaction, session_id) else peek(session_id, data).stamp


def contents(transaction: Transaction, tables: Tables, ledger: Ledger, pieces: Sequence[Piece]) -> list[memoryview]:
    """Return the bytes of pieces, as `LedgerStore.contents` promises."""
    session_id = ledger.session_id
    expect(f"the ledger of session {session_id}", held(transaction, tables, session_id), ledger.stamp)
    found: list[memoryview] = []
    for piece in pieces:
        data = transaction.get(digest(session_id) + piece.name.encode(), db=tables.pieces)
        piece.verify(session_id, data)
        found.append(memoryview(bytes(data or b"")))
    return found


def due(transaction: Transaction, tables: Tables) -> list[Due]:
    """Return the sessions whose ledgers have a time."""
    rows = (bytes(row).decode().split(" ", 1) for _, row in ascending(transaction, tables.due, b""))
    return [Due(session_id, float(due_at)) for due_at, session_id in rows]


def commit(
    transaction: Transaction, tables: Tables, save: LedgerSave, rest: Sequence[Part], staged: Collection[str]
) -> None:
    """Compare, then write the ledger and all that goes with it. The arguments are those of `lmdb_save.commit`."""
    session_id, token = save.ledger.session_id, save.ledger.token
    if tables.held(transaction, session_id) is None:
        raise VersionConflict(f"session {session_id} does not exist")
    done = save.is_done(held(transaction, tables, session_id))
    if not done:
        lmdb_staging.expect_staged(transaction, tables, session_id, token, staged)
    if staged:
        transaction.delete(lmdb_staging.staging_key(session_id, token), db=tables.staging)
    if not done:
        tables.put_pieces(transaction, session_id, rest)
        write(transaction, tables, save)
        lmdb_history.replace(transaction, tables, session_id, save.replaced)


def write(transaction: Transaction, tables: Tables, save: LedgerSave) -> None:
    """Write a ledger whose pieces are there, and remove its obsolete ones."""
    ledger = save.ledger
    session = digest(ledger.session_id)
    tables.delete_pieces(transaction, ledger.session_id, [piece.name for piece in save.obsolete])
    transaction.put(session, encode(ledger), db=tables.ledgers)
    if ledger.due_at is None:
        transaction.delete(session, db=tables.due)
    else:
        transaction.put(session, f"{ledger.due_at!r} {ledger.session_id}".encode(), db=tables.due)
