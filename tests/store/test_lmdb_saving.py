"""Saves of many LMDB transactions."""

import asyncio
from pathlib import Path

import pytest

from app.errors import StoreUnavailable
from app.store import lmdb_file
from app.store.stamp import VersionConflict
from tests.store.changes import change_of, row, saved, state_of
from tests.store.places import LmdbPlace, place_at
from tests.store.savings import settled, written_and_refused

MIB = 1 << 20


async def test_a_large_save_that_does_not_fit_leaves_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lmdb_file, "TRANSACTION_BYTES", MIB)
    place = place_at(f"lmdb:{folder}", lmdb_map_bytes=8 * MIB)
    async with place.store as store:
        head = await saved(store, None, [b"0" * MIB])
        for _ in range(3):
            with pytest.raises(StoreUnavailable, match="is full"):
                await saved(store, head, [b"%d" % i * MIB for i in range(9)])
            await store.delete("nobody")
            assert set(await place.pieces("session-1")) == {head.pieces[0].name}


@pytest.mark.usefixtures("small_transactions")
async def test_a_refused_large_save_leaves_nothing(lmdb_place: LmdbPlace) -> None:
    store = lmdb_place.store
    first = await saved(store, None, [b"stays", b"old"])
    second = await saved(store, first, [b"stays", b"new"])
    with pytest.raises(VersionConflict):
        await saved(store, first, [b"%d" % i * 5 for i in range(9)])
    await store.delete("nobody")
    assert set(await lmdb_place.pieces("session-1")) == {piece.name for piece in second.pieces}


@pytest.mark.usefixtures("small_transactions")
async def test_one_of_many_large_saves_wins_the_rest_leave_nothing(lmdb_place: LmdbPlace) -> None:
    store = lmdb_place.store
    first = await saved(store)
    changes = [change_of(first, [b"%d%d" % (i, j) * 4 for j in range(5)], row=row(1)) for i in range(20)]
    outcomes = await asyncio.gather(*(store.save(change) for change in [*changes, *changes]), return_exceptions=True)
    won = {i % 20 for i, outcome in enumerate(outcomes) if outcome is None}
    assert len(won) == 1
    head = changes[won.pop()].head
    await store.delete("nobody")
    assert await store.load("session-1") == head
    assert len(await state_of(store, head)) == head.state_bytes
    assert set(await lmdb_place.pieces("session-1")) == {piece.name for piece in head.pieces}
    assert await store.history("session-1", 0, 10) == [b"row 1"]


async def test_a_full_lmdb_refuses_written_pieces_and_says_so(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    place = place_at(f"lmdb:{tmp_path_factory.mktemp('full')}", lmdb_map_bytes=6 * MIB)
    async with place.store:
        head = await saved(place.store)
        await written_and_refused(place, head, "is full: delete sessions or raise OPTIM_LMDB_MAP_BYTES")
        await settled(place)
        assert set(await place.pieces("session-1")) == {piece.name for piece in head.pieces}
