"""The thinning of a session's history in an LMDB file."""

from app.store.base import Head
from app.store.history import HistoryRow
from app.store.lmdb_rows import Transaction, digest
from app.store.lmdb_tables import Tables
from app.store.lmdb_thinning import begun
from tests.store.changes import row, saved
from tests.store.places import LmdbPlace


async def _recorded(place: LmdbPlace, *rows: HistoryRow, limit: int) -> Head:
    place.store.history_limit = limit
    head = None
    for each in rows:
        head = await saved(place.store, head, row=each)
    assert head
    return head


def _has_begun(transaction: Transaction, tables: Tables) -> bool:
    return begun(transaction, tables, digest("session-1")) is not None


async def test_a_session_with_few_rows_has_no_note(lmdb_place: LmdbPlace) -> None:
    store = lmdb_place.store
    head = await _recorded(lmdb_place, *map(row, range(1, 5)), limit=4)
    assert not await store.file.view(lambda txn: _has_begun(txn, store.file.tables))
    await saved(store, head, row=row(5))
    assert await store.file.view(lambda txn: _has_begun(txn, store.file.tables))
    await store.delete("session-1")
    assert not await store.file.view(lambda txn: _has_begun(txn, store.file.tables))


async def test_an_earlier_versions_rows_are_thinned_from_their_first(lmdb_place: LmdbPlace) -> None:
    store = lmdb_place.store
    head = await _recorded(lmdb_place, *map(row, range(901, 1001)), limit=100)
    for step in range(1001, 1200):
        head = await saved(store, head, row=row(step))
    steps = [int(body.split()[1]) for body in await store.history("session-1", -1, 1000)]
    assert (len(steps), steps[0]) == (100, 901)
    assert steps[50:] == list(range(1150, 1200))
    assert all(step % 2 == 0 for step in steps[1:50])
