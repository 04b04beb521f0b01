"""The promises of every store about saving, loading and reading."""

import asyncio
import time
from dataclasses import replace

import pytest

from app.store.base import Save, Store, new_token
from app.store.piece import PIECE_BYTES, cut
from app.store.stamp import Stamp, VersionConflict
from tests.store.changes import DAY, change_of, row, saved, state_of
from tests.store.places import Place, second_store

MIB = 1 << 20


async def test_a_saved_session_is_loaded_back(store: Store) -> None:
    expires_at = time.time() + DAY
    head = await saved(store, document=b'{"step": \n "\xc3\xa9\x00"}', expires_at=expires_at)
    assert await store.load("session-1") == head
    assert (head.stamp, head.expires_at) == (Stamp(1, head.token), expires_at)
    assert await state_of(store, head) == b"onetwo"


async def test_an_unknown_session_is_none(store: Store) -> None:
    assert await store.load("nobody") is None
    assert await store.history("nobody", 0, 10) == []
    assert await store.list("nobody", 10) == []
    assert await store.delete("nobody") is False
    assert await store.sweep() == 0
    await store.ping()


@pytest.mark.parametrize("name", ["x" * 3000, "a\0b", "{}*[]?\\", "sé:ssion", " "])
async def test_any_text_may_name_a_session_to_load(store: Store, name: str) -> None:
    assert await store.load(name) is None
    assert await store.delete(name) is False
    assert await store.history(name, 0, 10) == []
    assert await store.list(name, 10, before=name) == []


@pytest.mark.parametrize("size", [0, 1, MIB, MIB + 1, 5 * MIB, 20 * MIB])
async def test_a_state_of_any_size_comes_back(store: Store, size: int) -> None:
    state = memoryview((b"0123456789abcdef7" * (size // 17 + 1))[:size])
    parts = [bytes(part) for part in cut(state)]
    assert [len(part) for part in parts[:-1]] == [PIECE_BYTES] * (len(parts) - 1)
    head = await saved(store, None, parts)
    assert await state_of(store, head) == state
    head = await saved(store, head, [bytes(len(part)) for part in parts])
    assert await state_of(store, head) == bytes(size)


async def test_a_piece_may_be_empty(store: Store) -> None:
    head = await saved(store, None, [b"", b"one", b""])
    assert await state_of(store, head) == b"one"


async def test_only_pieces_that_changed_are_written_and_old_ones_go(place: Place) -> None:
    first = await saved(place.store, None, [b"same", b"old", b"goes"])
    second = await saved(place.store, first, [b"same", b"new"])
    assert second.pieces[0] == first.pieces[0]
    assert await place.pieces("session-1") == {second.pieces[0].name: b"same", second.pieces[1].name: b"new"}


async def test_a_stale_save_is_refused_and_changes_nothing(place: Place) -> None:
    store = place.store
    first = await saved(store, row=row(1))
    second = await saved(store, first, [b"one", b"three"], row=row(2))
    stale = change_of(first, [b"four", b"two"], row=row(2, "stale"), forget_after=0)
    with pytest.raises(VersionConflict):
        await store.save(stale)
    assert await store.load("session-1") == second
    assert await state_of(store, second) == b"onethree"
    assert await store.history("session-1", 0, 10) == [b"row 1", b"row 2"]
    assert set(await place.pieces("session-1")) == {piece.name for piece in second.pieces}


async def test_a_session_is_created_once(store: Store) -> None:
    first = await saved(store)
    with pytest.raises(VersionConflict):
        await store.save(change_of(None, [b"another"]))
    assert await store.load("session-1") == first


async def test_a_session_that_is_not_there_is_not_saved(place: Place) -> None:
    head = change_of(None).head
    with pytest.raises(VersionConflict):
        await place.store.save(change_of(head, [b"new"]))
    assert await place.store.load("session-1") is None
    assert await place.pieces("session-1") == {}


async def test_a_save_from_a_lost_version_is_refused(store: Store) -> None:
    first = await saved(store)
    lost = replace(first, token=new_token())
    with pytest.raises(VersionConflict):
        await store.save(change_of(lost, [b"new"]))
    with pytest.raises(VersionConflict):
        await state_of(store, lost)
    assert await store.load("session-1") == first


async def test_a_save_that_comes_twice_happens_once(place: Place) -> None:
    store = place.store
    first = change_of(None, row=row(1))
    second = change_of(first.head, [b"one", b"new"], row=row(2))
    for change in (first, first, second, second):
        await store.save(change)
    assert await store.load("session-1") == second.head
    assert await state_of(store, second.head) == b"onenew"
    assert await store.history("session-1", 0, 10) == [b"row 1", b"row 2"]
    assert len(await store.list("tenant-1", 10)) == 1
    assert set(await place.pieces("session-1")) == {piece.name for piece in second.head.pieces}


async def test_a_save_that_comes_again_too_late_harms_nothing(place: Place) -> None:
    store = place.store
    first = change_of(None, [b"stays", b"old"])
    await store.save(first)
    second = await saved(store, first.head, [b"stays", b"new"])
    with pytest.raises(VersionConflict):
        await store.save(first)
    assert await state_of(store, second) == b"staysnew"
    assert set(await place.pieces("session-1")) == {piece.name for piece in second.pieces}


async def test_one_of_a_hundred_saves_from_one_version_wins(place: Place) -> None:
    first = await saved(place.store, None, [b"stays", b"old"], row=row(1))
    changes = [change_of(first, [b"stays", b"%d" % i], row=row(2, f"by {i}")) for i in range(100)]
    async with second_store(place) as other:
        stores = [place.store, other] * 50
        outcomes = await asyncio.gather(*map(_try, stores, changes))
        assert outcomes.count(True) == 1
        winner = outcomes.index(True)
        head = changes[winner].head
        assert await other.load("session-1") == await place.store.load("session-1") == head
        assert await state_of(place.store, head) == b"stays%d" % winner
        assert await place.store.history("session-1", 0, 10) == [b"row 1", b"by %d" % winner]
        assert set(await place.pieces("session-1")) == {piece.name for piece in head.pieces}


async def _try(store: Store, change: Save) -> bool:
    try:
        await store.save(change)
    except VersionConflict:
        return False
    return True


async def test_many_sessions_are_saved_at_once(store: Store) -> None:
    heads = await asyncio.gather(*(saved(store, None, [b"%d" % i], session_id=f"session-{i:02}") for i in range(60)))
    assert await asyncio.gather(*(state_of(store, head) for head in heads)) == [b"%d" % i for i in range(60)]
    assert [head.session_id for head in await store.list("tenant-1", 100)] == [f"session-{i:02}" for i in range(60)][
        ::-1
    ]


async def test_a_read_of_a_head_that_is_gone_says_so(store: Store) -> None:
    first = await saved(store, None, [b"stays", b"old"])
    second = await saved(store, first, [b"stays", b"new"])
    with pytest.raises(VersionConflict):
        await state_of(store, first)
    await saved(store, second, [b"stays", b"new"], document=b"patched")
    with pytest.raises(VersionConflict):
        await state_of(store, second)


async def test_deleting_removes_all_that_belongs_to_a_session(place: Place) -> None:
    store = place.store
    head = await saved(store, await saved(store, row=row(1)), row=row(2))
    other = await saved(store, session_id="session-2")
    assert await store.delete("session-1") is True
    assert await store.delete("session-1") is False
    assert await store.load("session-1") is None
    assert await store.history("session-1", 0, 10) == []
    assert await store.list("tenant-1", 10) == [other]
    assert await place.pieces("session-1") == {}
    with pytest.raises(VersionConflict):
        await state_of(store, head)
    with pytest.raises(VersionConflict):
        await store.save(change_of(head))
    assert await state_of(store, other) == b"onetwo"


async def test_a_session_that_moved_on_is_not_deleted(store: Store) -> None:
    first = await saved(store)
    second = await saved(store, first)
    for stale in (first.stamp, second.stamp._replace(token=first.token)):
        with pytest.raises(VersionConflict):
            await store.delete("session-1", stale)
    assert await store.load("session-1") == second
    assert await store.delete("session-1", second.stamp) is True
    assert await store.delete("session-1", second.stamp) is False


async def test_a_deleted_name_starts_afresh(store: Store) -> None:
    await saved(store, row=row(1))
    await store.delete("session-1")
    head = await saved(store, None, [b"new"], row=row(1, "new"))
    assert await state_of(store, head) == b"new"
    assert await store.history("session-1", 0, 10) == [b"new"]


async def test_saves_and_deletes_at_once_leave_all_or_nothing(place: Place) -> None:
    store = place.store
    for _ in range(10):
        head = await saved(store, None, [b"a", b"b"])
        await asyncio.gather(
            _try(store, change_of(head, [b"a", b"c"])), store.delete("session-1"), _try(store, change_of(head, [b"d"]))
        )
        left = await store.load("session-1")
        assert set(await place.pieces("session-1")) == ({piece.name for piece in left.pieces} if left else set())
        await store.delete("session-1")


async def test_a_closed_store_opens_again_with_what_it_had(place: Place) -> None:
    head = await saved(place.store)
    await place.store.close()
    await place.store.close()
    await place.store.open()
    assert await place.store.load("session-1") == head
