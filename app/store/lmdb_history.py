"""The history of a session in an LMDB file: one row a step, and a count of the rows."""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import islice

from app.store.base import Save
from app.store.generation import MOST_UNDO, ReplacedRow
from app.store.history import Numbered, Placed, last_older, merged, newer_rows
from app.store.lmdb_marks import marks_after
from app.store.lmdb_rows import Transaction, ascending, descending, digest, drop, number
from app.store.lmdb_tables import ABOVE_ALL, Tables
from app.store.lmdb_thinning import Thinner, begun


def rows_after(transaction: Transaction, tables: Tables, session_id: str, after: int, limit: int) -> list[bytes]:
    """Return rows of steps after `after`, as `Store.history` promises."""
    if tables.held(transaction, session_id) is None:
        return []
    bodies, last = list[bytes](), b""
    for key, body in ascending(transaction, tables.rows, digest(session_id), number(after + 1)):
        step = key[16:24]
        if len(bodies) >= limit and step != last:
            break
        bodies.append(bytes(body))
        last = step
    return bodies


def latest_rows(transaction: Transaction, tables: Tables, session_id: str, count: int) -> list[bytes]:
    """Return the newest `count` rows, oldest first."""
    if tables.held(transaction, session_id) is None:
        return []
    session = digest(session_id)
    keys = (key for key in descending(transaction, tables.rows, session, ABOVE_ALL) if key != session)
    return [bytes(transaction.get(key, b"", db=tables.rows)) for key in islice(keys, count)][::-1]


def newer(transaction: Transaction, tables: Tables, session_id: str, version: int, limit: int) -> list[Numbered]:
    """Return rows and marks, as `HistoryStore.newer` promises."""
    if tables.held(transaction, session_id) is None:
        return []
    rows = newer_rows(_above(transaction, tables, session_id, version), version, limit)
    return merged(rows, islice(marks_after(transaction, tables, session_id, version), limit), limit)


def _above(transaction: Transaction, tables: Tables, session_id: str, version: int) -> Iterator[Placed]:
    """Yield the rows of `newer_rows`."""
    session = digest(session_id)
    last = next(descending(transaction, tables.rows, session, ABOVE_ALL), session)
    if last == session:  # the count alone
        return

    def row_from(step: int) -> bytes:
        """Return the key of the first row of that step, or of a later one."""
        return next(ascending(transaction, tables.rows, session, number(step)))[0]

    first = _step_of(row_from(0))
    start = last_older(version, first, _step_of(last), lambda step: int.from_bytes(row_from(step)[24:], "big"))
    for key, body in ascending(transaction, tables.rows, session, number(start - MOST_UNDO)):
        yield Placed(_step_of(key), int.from_bytes(key[24:], "big"), partial(bytes, body))


def _step_of(key: bytes) -> int:
    return int.from_bytes(key[16:24], "big")


def replace(transaction: Transaction, tables: Tables, session_id: str, rows: Iterable[ReplacedRow]) -> None:
    """Replace those rows that are kept."""
    for row in rows:
        key = digest(session_id) + number(row.step) + number(row.version)
        if transaction.get(key, db=tables.rows) is not None:
            transaction.put(key, row.body, db=tables.rows)


def record(transaction: Transaction, tables: Tables, save: Save, limit: int) -> None:
    """Forget, replace and add rows as the save asks, and thin them to `limit`."""
    session = digest(save.head.session_id)
    thinner = begun(transaction, tables, session)
    count = int.from_bytes(transaction.get(session, b"", db=tables.rows), "big")
    if save.forget_after is not None:
        count -= drop(transaction, tables.rows, session, number(save.forget_after + 1))
        if thinner:
            thinner.note_forgotten(count)
    replace(transaction, tables, save.head.session_id, save.replaced)
    if save.row:
        place = number(save.row.step) + number(save.head.version)
        transaction.put(session + place, save.row.body, db=tables.rows)
        count += 1
        if thinner:
            thinner.note_added(place)
    if count > limit:
        thinner = thinner or Thinner(transaction, tables, session)
        count -= thinner.thin(count, limit)
    if thinner:
        thinner.save()
    transaction.put(session, number(count), db=tables.rows)
