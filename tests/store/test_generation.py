"""The promises of every store about earlier generations: whole, counted once, and gone with what they belong to."""

import asyncio
import time

import pytest

from app.errors import StateDamaged
from app.store.base import Head, Store
from app.store.generation import ReplacedRow, Undone
from app.store.keys import KeyMemory, key_digest
from tests.store.changes import DAY, change_of, row, saved, state_of, undoing, used
from tests.store.places import Place, RedisPlace

LAPS = ([b"stays", b"one"], [b"stays", b"two"], [b"stays", b"three"], [b"moves", b"three"])
"""The states of a session, each of which shares a piece with the one before."""


async def laps(store: Store, undo: int, **settings: float) -> Head:
    """Save each state, as steps 0, 1, 2, …, whose keys are k0, k1, k2, …"""
    head = None
    for step, parts in enumerate(LAPS):
        change = change_of(head, parts, row=row(step), used=[used(f"k{step}")], undo=undo, **settings)
        await store.save(change)
        head = change.head
    assert head
    return head


def trace(head: Head, step: int) -> Undone:
    key = used(f"k{step}", "undone")
    return Undone(ReplacedRow(step, head.earlier[0].version, b"undone %d" % step), key)


async def check(place: Place, head: Head, states: list[list[bytes]]) -> None:
    """Assert that the store has that head with those states, newest first, and no other pieces."""
    assert await place.store.load("session-1") == head
    assert await state_of(place.store, head) == b"".join(states[0])
    for generation, state in zip(head.earlier, states[1:], strict=True):
        document = b"before %d" % generation.version
        assert await state_of(place.store, head.with_pieces(generation.all_pieces)) == b"".join(state) + document
    assert set(await place.pieces("session-1")) == {piece.name for piece in head.kept}


async def test_as_many_generations_are_kept_as_are_named(place: Place) -> None:
    await check(place, await laps(place.store, 2), [*LAPS[:0:-1]])


async def test_a_shared_piece_counts_once(store: Store) -> None:
    head = await laps(store, 3)
    assert head.kept_bytes == len(b"staysmovesonetwothree")
    assert head.state_bytes == len(b"movesthree")
    assert (await saved(store, session_id="session-2")).kept_bytes == len(b"onetwo")


async def test_a_save_goes_back_generation_by_generation(place: Place) -> None:
    head = await laps(place.store, 3)
    for step in (3, 2, 1):
        change = undoing(head, b"".join(LAPS[step - 1]), trace(head, step), used=(used(f"undo {step}"),))
        assert change.fresh == []
        for _ in range(2):
            await place.store.save(change)
        head = change.head
        await check(place, head, [*LAPS[step - 1 :: -1]])
    assert await place.store.history("session-1", -1, 9) == [b"row 0", b"undone 1", b"undone 2", b"undone 3"]
    rows = [await place.store.used("session-1", key_digest(f"k{step}")) for step in range(4)]
    assert rows == [b"row of k0", b"undone", b"undone", b"undone"]
    assert await place.store.used("session-1", key_digest("undo 3")) == b"row of undo 3"
    await saved(place.store, head, [b"new"], row=row(1, "new"))
    assert await place.store.history("session-1", 0, 2) == [b"undone 1", b"new"]


async def test_traces_that_are_gone_stay_gone(store: Store) -> None:
    store.key_memory = KeyMemory(count=2, seconds=0)
    head = await laps(store, 1)
    for step in range(4, 9):
        head = await saved(store, head, LAPS[3], row=row(step), used=[used(f"k{step}")], undo=1)
    gone = Undone(ReplacedRow(1, 2, b"undone"), used("k1", "undone"))
    await store.save(undoing(head, b"".join(LAPS[3]), gone))
    assert await store.history("session-1", -1, 9) == [b"row 0", b"row 4", b"row 6", b"row 7", b"row 8"]
    assert await store.used("session-1", key_digest("k1")) is None


async def test_a_save_without_generations_leaves_none(place: Place) -> None:
    head = await saved(place.store, await laps(place.store, 2), [b"put"])
    await check(place, head, [[b"put"]])


async def test_a_refused_save_keeps_every_generation(place: Place) -> None:
    head = await laps(place.store, 2)
    for refused in (
        change_of(head, used=[used("k3")]),
        undoing(head, b"threethree", trace(head, 3), used=(used("k3"),)),
    ):
        with pytest.raises(Exception, match="session-1"):
            await place.store.save(refused)
    await check(place, head, [*LAPS[:0:-1]])


async def test_a_deletion_leaves_no_generation(place: Place) -> None:
    await laps(place.store, 3)
    await place.store.delete("session-1")
    assert await place.pieces("session-1") == {}
    await laps(place.store, 3)
    head = await place.head("session-1")
    await place.put_head("session-1", b"garbage" + head)
    await place.store.delete("session-1")
    assert await place.pieces("session-1") == {}


async def test_generations_expire_with_their_session(place: Place) -> None:
    head = await laps(place.store, 2, expires_at=time.time() + DAY)
    if isinstance(place, RedisPlace):
        for name in await place.pieces("session-1"):
            assert 0 < place.client.pttl(f"optim:{{session-1}}:piece:{name}") <= 1000 * DAY
    await place.store.save(change_of(head, LAPS[0], undo=2, expires_at=time.time() + 0.001))
    await asyncio.sleep(0.01)
    await place.store.sweep()
    assert await place.pieces("session-1") == {}


async def test_a_session_that_no_longer_expires_keeps_generations(place: Place) -> None:
    head = await laps(place.store, 2, expires_at=time.time() + DAY)
    change = change_of(head, LAPS[3], undo=2)
    await place.store.save(change)
    if isinstance(place, RedisPlace):
        for name in await place.pieces("session-1"):
            assert place.client.pttl(f"optim:{{session-1}}:piece:{name}") == -1
    await check(place, change.head, [LAPS[3], LAPS[3], LAPS[2]])


async def test_a_damaged_generation_is_refused(place: Place) -> None:
    head = await laps(place.store, 2)
    name = head.earlier[1].pieces[1].name
    await place.put_piece("session-1", name, b"sixth")
    with pytest.raises(StateDamaged, match=name):
        await state_of(place.store, head.with_pieces(head.earlier[1].pieces))
    assert await state_of(place.store, head) == b"movesthree"


@pytest.mark.parametrize("what", ["document", "piece"])
async def test_a_lost_generation_stops_no_save(place: Place, what: str) -> None:
    head = await laps(place.store, 2)
    lost = head.earlier[0].document if what == "document" else head.earlier[0].pieces[1]
    await place.put_piece("session-1", lost.name, None)
    change = change_of(head, LAPS[0], undo=2)
    await place.store.save(change)
    assert await state_of(place.store, change.head) == b"staysone"
    with pytest.raises(StateDamaged, match=lost.name):
        await state_of(place.store, change.head.with_pieces(change.head.earlier[1].all_pieces))
