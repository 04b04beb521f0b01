"""The sweep of an LMDB file."""

from pathlib import Path

import pytest

from app.store import lmdb_staging
from tests.store.changes import change_of, saved, state_of
from tests.store.lmdb_stores import another_process, kill, stage
from tests.store.places import LmdbPlace


async def test_staged_pieces_are_invisible_and_swept_when_old(
    lmdb_place: LmdbPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = lmdb_place.store
    head = await saved(store)
    await stage(store, change_of(head, [b"three", b"four"]), 1)
    assert await store.load("session-1") == head
    assert await state_of(store, head) == b"onetwo"
    assert await store.sweep() == 0
    assert len(await lmdb_place.pieces("session-1")) == 3
    monkeypatch.setattr(lmdb_staging, "STAGED_SECONDS", 0.0)
    assert await store.sweep() == 1
    assert set(await lmdb_place.pieces("session-1")) == {piece.name for piece in head.pieces}


async def test_a_reader_that_was_killed_is_forgotten_by_a_sweep(lmdb_place: LmdbPlace, folder: Path) -> None:
    await saved(lmdb_place.store)
    other = another_process(folder, "txn = store.begin()\nprint('ready', flush=True)\ntime.sleep(30)")
    assert str(other.pid) in lmdb_place.store.file.environment.readers()
    kill(other)
    await lmdb_place.store.sweep()
    assert str(other.pid) not in lmdb_place.store.file.environment.readers()
