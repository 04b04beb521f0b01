"""The outlines of sessions' histories in an LMDB file."""

from app.store import lmdb_outlines
from tests.store.changes import saved
from tests.store.places import LmdbPlace


async def test_an_outline_is_read_as_it_was_kept(lmdb_place: LmdbPlace) -> None:
    file = lmdb_place.store.file
    await saved(lmdb_place.store)
    await file.write(lambda txn: lmdb_outlines.keep(txn, file.tables, "session-1", b"outline"))
    assert await file.view(lambda txn: lmdb_outlines.read(txn, file.tables, "session-1")) == b"outline"


async def test_a_gone_session_keeps_no_outline(lmdb_place: LmdbPlace) -> None:
    file = lmdb_place.store.file
    await file.write(lambda txn: lmdb_outlines.keep(txn, file.tables, "session-1", b"outline"))
    assert await file.view(lambda txn: txn.stat(file.tables.outlines)["entries"]) == 0
