"""The promises of every store about damage: it is refused, and never taken for a new session."""

from dataclasses import replace

import pytest

from app.errors import StateDamaged
from app.store.base import IncompatibleStore, Store, Unreadable, new_token
from app.store.envelope import HEAD_FORMAT, encode
from app.store.ledger_envelope import LEDGER_FORMAT
from app.store.piece import checksum_of
from app.store.stamp import VersionConflict
from tests.store.changes import change_of, row, saved, state_of
from tests.store.ledgers import ledger_saved
from tests.store.places import DurablePlace, Place


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("spoilt", [b"x\x00z", b"xy", b"xyz\x00", b"", None])
async def test_a_piece_that_differs_is_refused(place: Place, spoilt: bytes | None) -> None:
    head = await saved(place.store, None, [b"one", b"xyz", b"three"])
    await place.put_piece("session-1", head.pieces[1].name, spoilt)
    with pytest.raises(StateDamaged, match=f"session-1: piece {head.pieces[1].name} should be 3 bytes") as refusal:
        await state_of(place.store, head)
    assert refusal.value.fields == {"piece": head.pieces[1].name}
    assert await place.store.load("session-1") == head


async def test_pieces_that_changed_places_are_refused(place: Place) -> None:
    head = await saved(place.store, None, [b"one", b"two"])
    await place.put_piece("session-1", head.pieces[0].name, b"two")
    await place.put_piece("session-1", head.pieces[1].name, b"one")
    with pytest.raises(StateDamaged):
        await state_of(place.store, head)


async def test_any_flipped_byte_of_a_head_is_refused(place: Place) -> None:
    await saved(place.store, document=b"document")
    good = await place.head("session-1")
    for at in range(len(good)):
        await place.put_head("session-1", flipped(good, at))
        with pytest.raises(StateDamaged, match="session-1"):
            await place.store.load("session-1")
    await place.put_head("session-1", good)
    assert await place.store.load("session-1")


@pytest.mark.parametrize("kept", [0, 1, 40, 100])
async def test_a_head_that_was_cut_short_is_refused(place: Place, kept: int) -> None:
    await saved(place.store)
    await place.put_head("session-1", (await place.head("session-1"))[:kept])
    with pytest.raises(StateDamaged, match="session-1"):
        await place.store.load("session-1")


async def test_another_sessions_head_is_refused(place: Place) -> None:
    await saved(place.store)
    await saved(place.store, session_id="session-2")
    await place.put_head("session-1", await place.head("session-2"))
    with pytest.raises(StateDamaged, match=r"session-1: its head is the head of session session-2"):
        await place.store.load("session-1")


async def test_a_damaged_head_is_listed_and_never_overwritten(place: Place) -> None:
    head = await saved(place.store)
    others = [await saved(place.store, session_id=name) for name in ("session-0", "session-2")]
    await place.put_head("session-1", b"garbage")
    last, damaged, first = await place.store.list("tenant-1", 10)
    assert [first, last] == others
    assert isinstance(damaged, Unreadable)
    assert (damaged.session_id, damaged.error.code) == ("session-1", "state_damaged")
    assert [found.session_id for found in await place.store.list("tenant-1", 1, before="session-2")] == ["session-1"]
    assert await place.store.sweep() == 0
    with pytest.raises(Exception, match="session-1"):
        await place.store.save(change_of(head))
    assert await place.head("session-1") == b"garbage"


async def test_the_list_knows_a_damaged_sessions_tenant(place: Place) -> None:
    await saved(place.store)
    await place.put_head("session-1", b"garbage")
    assert await place.store.is_listed("tenant-1", "session-1")
    assert not await place.store.is_listed("tenant-2", "session-1")
    assert not await place.store.is_listed("tenant-1", "session-2")


async def test_a_damaged_session_can_be_deleted(place: Place) -> None:
    store = place.store
    await saved(store, row=row(1))
    await place.put_head("session-1", b"garbage")
    assert await store.delete("session-1") is True
    assert await store.load("session-1") is None
    assert await store.list("tenant-1", 10) == []
    assert await store.history("session-1", -1, 10) == []
    assert await place.pieces("session-1") == {}


async def test_a_newer_versions_head_is_refused_as_such(place: Place) -> None:
    head = await saved(place.store)
    _, _, body = (await place.head("session-1")).split(b" ", 2)
    form = b"%d" % (HEAD_FORMAT + 1)
    await place.put_head("session-1", b"%s %s %s" % (form, checksum_of(form + b" " + body).encode(), body))
    with pytest.raises(IncompatibleStore, match=f"session-1 has format {HEAD_FORMAT + 1}, of a newer version"):
        await place.store.load("session-1")
    await place.put_head("session-1", encode(head))
    assert await place.store.load("session-1") == head


async def test_damage_in_one_session_does_not_touch_another(place: Place) -> None:
    store: Store = place.store
    await saved(store)
    other = await saved(store, session_id="session-2")
    await place.put_head("session-1", b"garbage")
    assert await state_of(store, other) == b"onetwo"
    assert await saved(store, other, [b"new"])


async def test_a_damaged_ledger_is_refused_and_leaves_the_session_whole(durable_place: DurablePlace) -> None:
    store = durable_place.store
    head, ledger = await saved(store), await ledger_saved(store, None, [b"a"])
    for garbage in (b"garbage", (await durable_place.ledger("session-1"))[:-1]):
        await durable_place.put_ledger("session-1", garbage)
        with pytest.raises(StateDamaged, match="session-1: the ledger of its workers"):
            await store.ledger("session-1")
        for previous in (None, replace(ledger, token=new_token())):
            with pytest.raises((StateDamaged, VersionConflict)):
                await ledger_saved(store, previous)
        assert await durable_place.ledger("session-1") == garbage
        head = await saved(store, head, [b"new"])
        assert await state_of(store, head) == b"new"
    assert await store.delete("session-1", head.stamp) is True
    assert await durable_place.pieces("session-1") == {}
    await saved(store)
    assert await store.ledger("session-1") is None


async def test_a_newer_versions_ledger_is_refused_as_such(durable_place: DurablePlace) -> None:
    store = durable_place.store
    await saved(store)
    await ledger_saved(store)
    data = (await durable_place.ledger("session-1")).split(b" ", 2)[2]
    form = b"%d" % (LEDGER_FORMAT + 1)
    newer = b"%s %s %s" % (form, checksum_of(form + b" " + data).encode(), data)
    await durable_place.put_ledger("session-1", newer)
    with pytest.raises(IncompatibleStore, match=f"session-1 has format {LEDGER_FORMAT + 1}, of a newer version"):
        await store.ledger("session-1")
    assert await durable_place.ledger("session-1") == newer
    assert await store.delete("session-1") is True
