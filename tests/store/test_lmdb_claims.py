"""The rows of claims in an LMDB file."""

import time

import pytest

from app.store.keys import Claim, key_digest
from app.store.lmdb_claims import Row, forget, old_rows
from app.store.lmdb_rows import ascending, digest
from tests.store.changes import DAY, saved
from tests.store.places import LmdbPlace


async def _rows(place: LmdbPlace) -> list[Row]:
    table = place.store.file.tables.claims
    return await place.store.file.view(
        lambda txn: [Row(key, bytes(value)) for key, value in ascending(txn, table, b"")]
    )


async def test_a_claim_and_a_creation_are_told_apart(lmdb_place: LmdbPlace) -> None:
    claim = Claim("tenant-1", key_digest("a"), "session-1", "request", 1.5)
    await lmdb_place.store.claim(claim)
    await saved(lmdb_place.store, claimed=True)
    rows = {row.is_creation: row for row in await _rows(lmdb_place)}
    assert rows[False] == (digest("tenant-1") + bytes.fromhex(claim.key), claim.encode())
    assert rows[True].key == digest("session-1")
    assert abs(float(rows[True].value) - time.time()) < 60


async def test_a_creation_is_forgotten_after_a_day(lmdb_place: LmdbPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    await saved(lmdb_place.store, claimed=True)
    now = time.time()
    for age, swept in ((DAY - 60, 0), (DAY + 60, 1)):
        monkeypatch.setattr(time, "time", lambda age=age: now + age)
        assert await lmdb_place.store.sweep() == swept
    assert await _rows(lmdb_place) == []


async def test_a_claim_that_was_renewed_meanwhile_is_not_forgotten(lmdb_place: LmdbPlace) -> None:
    store, memory = lmdb_place.store, lmdb_place.store.key_memory
    await store.claim(Claim("tenant-1", key_digest("a"), "session-1", "request", time.time() - 2 * DAY))
    [old] = await store.file.view(lambda txn: old_rows(txn, store.file.tables, memory))
    await store.claim(new := Claim("tenant-1", key_digest("a"), "session-2", "request", time.time()))
    assert await store.file.write(lambda txn: forget(txn, store.file.tables, old, memory)) == 0
    assert [row.value for row in await _rows(lmdb_place)] == [new.encode()]
