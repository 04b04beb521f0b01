"""The marks of a session in an LMDB file."""

from collections.abc import Iterator

from app.store.base import Save
from app.store.history import MOST_MARKS, Numbered
from app.store.lmdb_rows import Transaction, ascending, digest, drop, number
from app.store.lmdb_tables import Tables


def marks(transaction: Transaction, tables: Tables, session_id: str) -> list[bytes]:
    """Return the marks, as `HistoryStore.marks` promises."""
    if tables.held(transaction, session_id) is None:
        return []
    return [mark.body for mark in marks_after(transaction, tables, session_id, 0)]


def marks_after(transaction: Transaction, tables: Tables, session_id: str, version: int) -> Iterator[Numbered]:
    """Yield the marks with greater numbers, in their order."""
    for key, value in ascending(transaction, tables.marks, digest(session_id), number(version + 1)):
        kind, _, body = bytes(value).partition(b" ")
        yield Numbered(int.from_bytes(key[16:], "big"), kind.decode(), body)


def record(transaction: Transaction, tables: Tables, save: Save) -> None:
    """Write the mark of a save, and forget the oldest beyond `MOST_MARKS`. Marks are few, so they are counted anew."""
    if save.mark is None:
        return
    session = digest(save.head.session_id)
    kind, body = save.mark
    transaction.put(session + number(save.head.version), b"%s %s" % (kind.encode(), body), db=tables.marks)
    count = sum(1 for _ in ascending(transaction, tables.marks, session))
    if count > MOST_MARKS:
        drop(transaction, tables.marks, session, limit=count - MOST_MARKS)
