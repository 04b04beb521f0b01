"""The marks of a session in an LMDB file."""

from app.store.lmdb_marks import marks_after
from tests.store.changes import mark, saved
from tests.store.places import LmdbPlace


async def test_a_mark_is_read_as_it_was_written(lmdb_place: LmdbPlace) -> None:
    store = lmdb_place.store
    await saved(store, await saved(store), mark=mark("a b", "undo"))
    found = await store.file.view(lambda txn: [*marks_after(txn, store.file.tables, "session-1", 1)])
    assert found == [(2, "undo", b"a b")]
