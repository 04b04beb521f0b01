"""The transactions of one save in an LMDB file."""

import pytest

from app.errors import StoreUnavailable
from app.store import lmdb_save, lmdb_staging
from app.store.keys import KeyMemory
from app.store.stamp import VersionConflict
from tests.store.changes import change_of, saved, state_of
from tests.store.lmdb_stores import stage
from tests.store.places import LmdbPlace

LIMITS = lmdb_save.Limits(history=10, keys=KeyMemory())


@pytest.mark.usefixtures("small_transactions")
async def test_a_save_with_swept_pieces_is_refused_whole(
    lmdb_place: LmdbPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = lmdb_place.store
    head = await saved(store)
    change = change_of(head, [b"three", b"four"])
    await stage(store, change, 1)
    monkeypatch.setattr(lmdb_staging, "STAGED_SECONDS", 0.0)
    await store.sweep()
    names = [change.head.pieces[0].name]
    with pytest.raises(StoreUnavailable, match="send it again"):
        await store.file.write(
            lambda txn: lmdb_save.commit(txn, store.file.tables, change, change.fresh[1:], names, LIMITS)
        )
    assert await state_of(store, head) == b"onetwo"
    await store.save(change)
    assert await state_of(store, change.head) == b"threefour"


@pytest.mark.usefixtures("small_transactions")
async def test_a_session_deleted_during_staging_stays_deleted(lmdb_place: LmdbPlace) -> None:
    store = lmdb_place.store
    head = await saved(store)
    change = change_of(head, [b"three", b"four"])
    await stage(store, change, 1)
    await store.delete("session-1")
    with pytest.raises(VersionConflict):
        await store.save(change)
    await store.delete("nobody")
    assert await lmdb_place.pieces("session-1") == {}
