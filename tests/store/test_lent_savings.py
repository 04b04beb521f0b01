"""The savings that stores lend: pieces are written while the rest of their save is still computed."""

import asyncio
import threading
import time

import pytest

from app.store.base import Store
from app.store.stamp import VersionConflict
from tests.store.changes import change_of, row, saved, state_of
from tests.store.places import Place, second_store
from tests.store.savings import begun, settled

MIB = 1 << 20


@pytest.mark.parametrize("written", [0, 1, 20, 40])
async def test_a_save_names_what_was_written_and_brings_the_rest(place: Place, written: int) -> None:
    first = await saved(place.store, None, [b"stays", b"old"], row=row(1))
    parts = [b"stays", *(b"%d" % i * 50_000 for i in range(40))]
    change = change_of(first, parts, row=row(2))
    async with begun(place.store, change, change.fresh[:written]) as saving:
        assert await place.store.load("session-1") == first
        assert await state_of(place.store, first) == b"staysold"
        await saving.save(change)
    assert await place.store.load("session-1") == change.head
    assert await state_of(place.store, change.head) == b"".join(parts)
    assert set(await place.pieces("session-1")) == {piece.name for piece in change.head.pieces}
    assert await place.store.history("session-1", 0, 10) == [b"row 1", b"row 2"]


async def test_a_lent_save_that_comes_twice_happens_once(place: Place) -> None:
    head = await saved(place.store)
    change = change_of(head, [b"three", b"four"], row=row(1))
    async with begun(place.store, change) as saving:
        await saving.save(change)
        await saving.save(change)
    await place.store.save(change)
    assert await state_of(place.store, change.head) == b"threefour"
    assert await place.store.history("session-1", 0, 10) == [b"row 1"]
    assert set(await place.pieces("session-1")) == {piece.name for piece in change.head.pieces}


async def test_pieces_come_from_many_threads(store: Store) -> None:
    head = await saved(store)
    parts = [bytes([i]) * MIB for i in range(24)]
    change = change_of(head, parts)
    async with store.saving("session-1", change.head.token) as saving:
        threads = [threading.Thread(target=saving.write, args=(part,)) for part in reversed(change.fresh)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        await saving.save(change)
    assert await state_of(store, change.head) == b"".join(parts)


@pytest.mark.parametrize("pieces", [2, 40])
async def test_a_saving_left_unsaved_removes_its_pieces(place: Place, pieces: int) -> None:
    head = await saved(place.store)
    change = change_of(head, [b"%d" % i * 1000 for i in range(pieces)])
    with pytest.raises(MemoryError):
        async with begun(place.store, change) as saving:
            raise MemoryError
    for part in change.fresh:
        saving.write(part)  # by a thread that is still at work: nothing is written
    await settled(place)
    assert set(await place.pieces("session-1")) == {piece.name for piece in head.pieces}
    assert await state_of(place.store, head) == b"onetwo"


@pytest.mark.parametrize("pieces", [2, 40])
async def test_a_refused_save_takes_back_what_it_wrote(place: Place, pieces: int) -> None:
    first = await saved(place.store)
    change = change_of(first, [b"%d" % i * 1000 for i in range(pieces)])
    async with begun(place.store, change) as saving:
        async with second_store(place) as other:
            second = await saved(other, first, [b"one", b"quicker"])
        with pytest.raises(VersionConflict):
            await saving.save(change)
    await settled(place)
    assert set(await place.pieces("session-1")) == {piece.name for piece in second.pieces}
    assert await state_of(place.store, second) == b"onequicker"


async def test_a_session_that_is_deleted_meanwhile_stays_deleted(place: Place) -> None:
    head = await saved(place.store)
    change = change_of(head, [b"three", b"four"])
    async with begun(place.store, change) as saving:
        await settled(place)
        await place.store.delete("session-1")
        with pytest.raises(VersionConflict):
            await saving.save(change)
    await settled(place)
    assert await place.store.load("session-1") is None
    assert await place.pieces("session-1") == {}


async def test_one_of_two_creations_at_once_wins(place: Place) -> None:
    first, second = (change_of(None, [b"%d%d" % (i, j) for j in range(4)], row=row(1)) for i in range(2))
    async with begun(place.store, first, first.fresh[:2]) as one, begun(place.store, second) as other:
        await settled(place)
        await one.save(first)
        with pytest.raises(VersionConflict):
            await other.save(second)
    await settled(place)
    assert await state_of(place.store, first.head) == b"00010203"
    assert set(await place.pieces("session-1")) == {piece.name for piece in first.head.pieces}


async def test_a_new_session_may_take_an_expired_name(place: Place) -> None:
    await saved(place.store, None, [b"old"], row=row(1), expires_at=time.time() - 1)
    change = change_of(None, [b"new", b"newer"], row=row(2))
    async with begun(place.store, change) as saving:
        await saving.save(change)
    assert await state_of(place.store, change.head) == b"newnewer"
    assert await place.store.history("session-1", 0, 10) == [b"row 2"]
    assert set(await place.pieces("session-1")) == {piece.name for piece in change.head.pieces}


async def test_a_session_that_expires_meanwhile_leaves_nothing(place: Place) -> None:
    await saved(place.store, None, [b"old"], row=row(1), expires_at=time.time() + 0.3)
    change = change_of(None, [b"new", b"newer"], row=row(2))
    async with begun(place.store, change) as saving:
        await asyncio.sleep(0.4)
        await saving.save(change)
    assert await place.store.history("session-1", 0, 10) == [b"row 2"]
    assert set(await place.pieces("session-1")) == {piece.name for piece in change.head.pieces}
