"""Staged pieces in an LMDB file."""

import pytest

from app.errors import StoreUnavailable
from app.store import lmdb_ledgers, lmdb_staging
from app.store.ledger import LedgerSave
from app.store.lmdb import LmdbStore
from app.store.lmdb_rows import Transaction
from tests.store.changes import saved
from tests.store.ledgers import ledger_change, ledger_saved, waiting
from tests.store.places import LmdbPlace


async def stage(store: LmdbStore, change: LedgerSave) -> None:
    ledger = change.ledger
    for part in change.parts:

        def job(txn: Transaction, part=part) -> None:  # type: ignore[no-untyped-def]
            lmdb_staging.stage(txn, store.file.tables, ledger.session_id, ledger.token, part)

        await store.file.write(job)


async def test_staged_contributions_are_swept_when_old(lmdb_place: LmdbPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    store = lmdb_place.store
    await saved(store)
    ledger = await ledger_saved(store, None, [b"waits"])
    change = ledger_change(ledger, [b"never saved"])
    await stage(store, change)
    assert await store.sweep() == 0
    monkeypatch.setattr(lmdb_staging, "STAGED_SECONDS", 0.0)
    assert await store.sweep() == 1
    assert await waiting(store, ledger) == [b"waits"]
    with pytest.raises(StoreUnavailable, match="send it again"):
        await store.file.write(
            lambda txn: lmdb_ledgers.commit(txn, store.file.tables, change, (), [change.parts[0][0].name])
        )
    await store.save_ledger(change)
    assert await waiting(store, change.ledger) == [b"waits", b"never saved"]


async def test_pieces_that_a_ledger_names_are_not_unstaged(
    lmdb_place: LmdbPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = lmdb_place.store
    await saved(store)
    change = ledger_change(None, [b"waits"])
    await store.save_ledger(change)
    await stage(store, change)  # of the same save, by another try
    monkeypatch.setattr(lmdb_staging, "STAGED_SECONDS", 0.0)
    await store.sweep()
    assert await waiting(store, change.ledger) == [b"waits"]
