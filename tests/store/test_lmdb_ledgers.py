"""The ledgers in an LMDB file."""

from pathlib import Path

import pytest

from app.errors import StoreUnavailable
from app.store.lmdb_rows import ascending, digest
from tests.store.changes import saved
from tests.store.ledgers import ledger_saved
from tests.store.places import LmdbPlace, place_at


async def test_a_session_without_workers_has_no_row_of_a_ledger(lmdb_place: LmdbPlace) -> None:
    store, tables = lmdb_place.store, lmdb_place.store.file.tables
    await saved(store, await saved(store))
    for table in (tables.ledgers, tables.due):
        assert await store.file.view(lambda txn, table=table: list(ascending(txn, table, b""))) == []


async def test_a_row_of_due_has_a_time_and_any_session(lmdb_place: LmdbPlace) -> None:
    store, tables, name = lmdb_place.store, lmdb_place.store.file.tables, "1.5 a session\0"
    await saved(store, session_id=name)
    await ledger_saved(store, session_id=name, due_at=1.5)
    row = await store.file.view(lambda txn: bytes(txn.get(digest(name), b"", db=tables.due)))
    assert row == b"1.5 " + name.encode()
    assert await store.due() == [(name, 1.5)]


async def test_a_full_lmdb_refuses_a_contribution_whole(folder: Path) -> None:
    place = place_at(f"lmdb:{folder}", lmdb_map_bytes=6 << 20)
    async with place.store as store:
        await saved(store)
        ledger = await ledger_saved(store, None, [b"first"])
        with pytest.raises(StoreUnavailable, match="is full: delete sessions or raise OPTIM_LMDB_MAP_BYTES"):
            await ledger_saved(store, ledger, [bytes(1 << 20)] * 12)
        assert await store.ledger("session-1") == ledger
        await ledger_saved(store, ledger, [b"second"])
        assert sorted((await place.pieces("session-1")).values()) == [b"first", b"one", b"second", b"two"]
