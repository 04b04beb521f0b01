"""The promises of every store about ids that are claimed for creations."""

import asyncio
import time
from dataclasses import replace

import pytest

from app.errors import StateDamaged
from app.store.base import AlreadyCreated, Store
from app.store.keys import Claim, KeyMemory, key_digest, old_session_of
from tests.store.changes import DAY, saved, state_of
from tests.store.places import Place, second_store


def claim(session_id: str = "session-1", age: float = 0.0, key: str = "a", tenant: str = "tenant-1") -> Claim:
    return Claim(tenant, key_digest(key), session_id, f"request of {session_id}", time.time() - age)


async def test_the_first_claim_of_a_key_is_kept(store: Store) -> None:
    first = claim()
    assert await store.claim(first) == first
    assert await store.claim(claim("session-2")) == first
    assert await store.claim(other := claim("session-2", key="b")) == other
    assert await store.claim(other := claim("session-2", tenant="tenant-2")) == other


async def test_one_of_many_claims_at_once_is_kept(place: Place) -> None:
    async with second_store(place) as other:
        stores = [place.store, other] * 20
        kept = await asyncio.gather(*(store.claim(claim(f"{i}")) for i, store in enumerate(stores)))
    assert len(set(kept)) == 1


async def test_a_claimed_session_is_made_once(store: Store) -> None:
    first = await saved(store, claimed=True)
    await store.delete("session-1", first.stamp)
    with pytest.raises(AlreadyCreated, match="session-1 was created before"):
        await saved(store, claimed=True)
    assert await store.load("session-1") is None
    head = await saved(store, None, [b"by its name"])
    assert await state_of(store, head) == b"by its name"


async def test_a_damaged_claimed_session_is_made_once(place: Place) -> None:
    await saved(place.store, claimed=True)
    await place.put_head("session-1", b"garbage")
    assert await place.store.delete("session-1") is True
    with pytest.raises(AlreadyCreated):
        await saved(place.store, claimed=True)


async def test_a_claimed_session_that_expired_is_made_once(store: Store) -> None:
    await saved(store, claimed=True, expires_at=time.time() - 1)
    await store.sweep()
    with pytest.raises(AlreadyCreated):
        await saved(store, claimed=True)


async def test_an_old_claim_is_kept_while_its_session_lives(store: Store) -> None:
    old = claim(age=2 * DAY)
    assert await store.claim(old) == old
    head = await saved(store, claimed=True)
    assert await store.sweep() == 0
    assert await store.claim(claim("session-2")) == old
    await store.delete("session-1", head.stamp)
    assert await store.claim(new := claim("session-2")) == new


async def test_a_sweep_removes_old_claims_of_dead_sessions(store: Store) -> None:
    old, lives, young = claim(age=DAY + 1), claim("session-2", DAY + 1, "b"), claim("session-3", DAY - 60, "c")
    for each in (old, lives, young):
        await store.claim(each)
    await saved(store, session_id="session-2", claimed=True)
    assert await store.sweep() == 1
    assert await store.sweep() == 0
    late = [replace(each, session_id="session-4") for each in (old, lives, young)]
    assert [await store.claim(each) for each in late] == [late[0], lives, young]


@pytest.mark.parametrize("data", [b"", b"garbage", b"[]", b"{}", b'{"session_id":"a","request":"b","time":"c"}', b"1"])
def test_a_damaged_claim_is_refused_and_stays(data: bytes) -> None:
    with pytest.raises(StateDamaged, match="use a new key"):
        Claim.decode("tenant-1", "a", data)
    assert old_session_of(data, KeyMemory()) is None


def test_additions_of_a_later_version_to_claims_are_ignored() -> None:
    kept = claim()
    assert Claim.decode(kept.tenant, kept.key, kept.encode().replace(b"{", b'{"later":1,', 1)) == kept


async def test_claims_outlive_the_store_object(place: Place) -> None:
    first = await place.store.claim(claim())
    await saved(place.store, claimed=True)
    await place.store.delete("session-1")
    await place.store.close()
    await place.store.open()
    assert await place.store.claim(claim("session-2")) == first
    with pytest.raises(AlreadyCreated):
        await saved(place.store, claimed=True)
