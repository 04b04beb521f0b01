"""The promises of every store about sessions that expire, with short, real times."""

import asyncio
import time

import pytest

from app.store.base import Store
from app.store.stamp import VersionConflict
from tests.store.changes import DAY, change_of, mark, row, saved, state_of
from tests.store.places import Place

SOON = 0.4
MARGIN = 0.05
"""Redis looks at its clock now and then."""


async def _is_gone(store: Store, session_id: str) -> bool:
    return (
        await store.load(session_id) is None
        and await store.history(session_id, -1, 10) == []
        and await store.newer(session_id, 0, 10) == []
        and await store.marks(session_id) == []
        and session_id not in {head.session_id for head in await store.list("tenant-1", 10)}
        and await store.delete(session_id) is False
    )


async def test_a_session_and_all_that_belongs_to_it_expire_together(place: Place) -> None:
    store = place.store
    head = await saved(store, row=row(1), mark=mark("goes"), expires_at=time.time() + SOON)
    stays = await saved(store, session_id="session-2", expires_at=time.time() + DAY)
    assert await state_of(store, head) == b"onetwo"
    await asyncio.sleep(SOON + MARGIN)
    with pytest.raises(VersionConflict):
        await state_of(store, head)
    with pytest.raises(VersionConflict):
        await store.save(change_of(head, expires_at=time.time() + DAY))
    assert await store.load("session-1") is None
    assert await store.list("tenant-1", 10) == [stays]
    await store.sweep()
    assert await place.pieces("session-1") == {}
    assert await _is_gone(store, "session-1")
    assert await state_of(store, stays) == b"onetwo"


async def test_a_save_delays_the_expiry_of_kept_pieces(store: Store) -> None:
    expires_at = time.time() + SOON
    head = await saved(store, None, [b"stays", b"old"], row=row(1), mark=mark("stays"), expires_at=expires_at)
    head = await saved(store, head, [b"stays", b"new"], expires_at=time.time() + DAY)
    await asyncio.sleep(SOON + MARGIN)
    assert await store.sweep() == 0
    assert await state_of(store, head) == b"staysnew"
    assert await store.history("session-1", 0, 10) == [b"row 1"]
    assert await store.marks("session-1") == [b"stays"]


async def test_a_save_can_take_the_expiry_away(store: Store) -> None:
    head = await saved(store, None, [b"stays", b"old"], row=row(1), expires_at=time.time() + SOON)
    head = await saved(store, head, [b"stays", b"new"], expires_at=None)
    await asyncio.sleep(SOON + MARGIN)
    assert await store.sweep() == 0
    assert await store.load("session-1") == head
    assert await state_of(store, head) == b"staysnew"
    assert await store.history("session-1", 0, 10) == [b"row 1"]


async def test_a_save_can_bring_the_expiry_on(store: Store) -> None:
    head = await saved(store, None, [b"stays", b"old"], row=row(1))
    await saved(store, head, [b"stays", b"new"], expires_at=time.time() + SOON)
    await asyncio.sleep(SOON + MARGIN)
    assert await _is_gone(store, "session-1")


async def test_an_expiry_in_the_past_is_at_once(place: Place) -> None:
    await saved(place.store, row=row(1), mark=mark("gone"), expires_at=time.time() - 1)
    assert await _is_gone(place.store, "session-1")
    await place.store.sweep()
    assert await place.pieces("session-1") == {}


async def test_the_name_of_an_expired_session_starts_afresh(place: Place) -> None:
    await saved(place.store, None, [b"old"], row=row(1), expires_at=time.time() - 1)
    head = await saved(place.store, None, [b"new"], row=row(2))
    assert await place.store.load("session-1") == head
    assert await place.store.history("session-1", 0, 10) == [b"row 2"]
    assert await place.pieces("session-1") == {head.pieces[0].name: b"new"}


async def test_an_expired_name_belongs_to_its_next_tenant_alone(store: Store) -> None:
    await saved(store, tenant="first", expires_at=time.time() - 1)
    head = await saved(store, tenant="second")
    assert await store.list("first", 10) == []
    assert await store.list("second", 10) == [head]


async def test_a_sweep_counts_what_it_removes_and_leaves_the_rest(store: Store) -> None:
    for i in range(20):
        await saved(store, session_id=f"dead-{i}", expires_at=time.time() - 1)
        await saved(store, session_id=f"alive-{i:02}")
    assert await store.sweep() == 20
    assert await store.sweep() == 0
    assert len(await store.list("tenant-1", 100)) == 20
