"""The marks of a session in an LMDB file."""

from pathlib import Path

from app.store.lmdb_copy import backup
from app.store.lmdb_marks import marks_after
from tests.store.changes import mark, saved
from tests.store.lmdb_stores import store_in
from tests.store.places import LmdbPlace


async def test_a_mark_is_read_as_it_was_written(lmdb_place: LmdbPlace) -> None:
    store = lmdb_place.store
    await saved(store, await saved(store), mark=mark("a b", "undo"))
    found = await store.file.view(lambda txn: [*marks_after(txn, store.file.tables, "session-1", 1)])
    assert found == [(2, "undo", b"a b")]


async def test_a_backup_has_the_marks(folder: Path, tmp_path: Path) -> None:
    async with store_in(folder) as store:
        await saved(store, mark=mark("kept"))
    backup(folder, tmp_path / "copy", 1 << 30)
    async with store_in(tmp_path / "copy") as store:
        assert await store.marks("session-1") == [b"kept"]
