"""The outlines of sessions' histories in an LMDB file."""

from app.store.lmdb_rows import Transaction, digest
from app.store.lmdb_tables import Tables


def read(transaction: Transaction, tables: Tables, session_id: str) -> bytes | None:
    """Return the outline of a session, as `HistoryStore.outline` promises."""
    if tables.held(transaction, session_id) is None:
        return None
    outline = transaction.get(digest(session_id), db=tables.outlines)
    return None if outline is None else bytes(outline)


def keep(transaction: Transaction, tables: Tables, session_id: str, outline: bytes) -> None:
    """Keep an outline, as `HistoryStore.keep_outline` promises."""
    if tables.held(transaction, session_id) is not None:
        transaction.put(digest(session_id), outline, db=tables.outlines)
