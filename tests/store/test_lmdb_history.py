"""The rows of the history in an LMDB file, and their count."""

from app.store.base import Head
from app.store.lmdb_rows import Transaction, ascending, digest
from app.store.lmdb_tables import Tables
from tests.store.changes import row, saved
from tests.store.places import LmdbPlace

CHANGES = ((1, None), (2, None), (2, None), (3, None), (4, None), (3, 2), (9, 0), (None, None), (None, 0))
"""The step of each change's row, and the step after which it forgets."""


def _count(transaction: Transaction, tables: Tables) -> tuple[int, int]:
    """Return the noted and the real number of rows."""
    session = digest("session-1")
    noted = int.from_bytes(transaction.get(session, b"", db=tables.rows), "big")
    return noted, sum(key != session for key, _ in ascending(transaction, tables.rows, session))


async def test_the_count_is_right_after_any_save(lmdb_place: LmdbPlace) -> None:
    store = lmdb_place.store
    store.history_limit = 3
    head: Head | None = None
    expected = []
    for step, forget in (
        (1, None),
        (2, None),
        (2, None),
        (3, None),
        (4, None),
        (3, 2),
        (9, 0),
        (None, None),
        (None, 0),
    ):
        head = await saved(store, head, row=None if step is None else row(step), forget_after=forget)
        noted, found = await store.file.view(lambda txn: _count(txn, store.file.tables))
        assert noted == found
        expected.append(found)
    assert expected == [1, 2, 3, 3, 3, 2, 1, 1, 0]
