"""The promises of every store about idempotency keys."""

import time
from collections.abc import Callable

import pytest

from app.store.base import Head, KeyUsed, Store
from app.store.keys import KeyMemory, key_digest
from app.store.stamp import VersionConflict
from tests.store.changes import DAY, change_of, row, saved, state_of, used
from tests.store.places import Place, second_store

MIB = 1 << 20


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Return a function that sets the service's wall clock forward by so many seconds."""
    right = time.time
    return lambda seconds: monkeypatch.setattr(time, "time", lambda: right() + seconds)


async def known(store: Store, *keys: str, session_id: str = "session-1") -> list[str]:
    """Return those of the keys that the store knows; check their rows."""
    rows = {key: await store.used(session_id, key_digest(key)) for key in keys}
    assert all(found in {None, f"row of {key}".encode()} for key, found in rows.items())
    return [key for key, found in rows.items() if found is not None]


async def keyed(store: Store, *keys: str, head: Head | None = None) -> Head:
    """Save once with each key."""
    for key in keys:
        head = await saved(store, head, used=[used(key)])
    assert head
    return head


async def test_a_key_has_the_row_of_its_save(store: Store) -> None:
    assert await known(store, "a") == []
    head = await keyed(store, "a")
    head = await saved(store, head)
    await keyed(store, "b", head=head)
    assert await known(store, "a", "b", "c") == ["a", "b"]
    assert await known(store, "a", session_id="session-2") == []


async def test_a_save_with_a_known_key_is_refused_whole(place: Place) -> None:
    store = place.store
    head = await keyed(store, "a", "b")
    for big in (False, True):
        parts = [b"%d" % i * MIB for i in range(20)] if big else [b"new"]
        async with second_store(place) as other:
            with pytest.raises(KeyUsed, match="session-1: the key was used before"):
                await saved(other, head, parts, row=row(1), forget_after=0, used=[used("new"), used("a", "other")])
    assert await store.load("session-1") == head
    assert await state_of(store, head) == b"onetwo"
    assert await store.history("session-1", 0, 10) == []
    assert await known(store, "a", "b", "new") == ["a", "b"]
    await store.delete("nobody")  # by then LMDB has taken back what was on its way
    assert set(await place.pieces("session-1")) == {piece.name for piece in head.pieces}


async def test_a_key_may_be_used_in_every_session(store: Store) -> None:
    await saved(store, used=[used("a")])
    await saved(store, session_id="session-2", used=[used("a")])
    assert await known(store, "a", session_id="session-2") == ["a"]


async def test_a_refused_save_uses_no_key(store: Store) -> None:
    first = await keyed(store, "a")
    second = await keyed(store, "b", head=first)
    with pytest.raises(VersionConflict):
        await saved(store, first, used=[used("c")])
    assert await known(store, "a", "b", "c") == ["a", "b"]
    await keyed(store, "c", head=second)


async def test_a_save_that_comes_twice_uses_its_key_once(store: Store) -> None:
    change = change_of(None, used=[used("a")])
    for _ in range(3):
        await store.save(change)
    assert await known(store, "a") == ["a"]


async def test_one_save_may_bring_many_keys(store: Store) -> None:
    names = [f"{i}" for i in range(65)]
    await saved(store, await saved(store), used=[used(name) for name in names])
    assert await known(store, *names) == names


async def test_keys_outlive_the_store_object(place: Place) -> None:
    head = await keyed(place.store, "a")
    await place.store.close()
    await place.store.open()
    with pytest.raises(KeyUsed):
        await keyed(place.store, "a", head=head)
    assert await known(place.store, "a") == ["a"]


@pytest.mark.parametrize("damaged", [False, True])
async def test_keys_go_with_their_session(place: Place, damaged: bool) -> None:
    store = place.store
    await keyed(store, "a")
    await saved(store, session_id="session-2", used=[used("b")])
    if damaged:
        await place.put_head("session-1", b"garbage")
    await store.delete("session-1")
    assert await known(store, "a") == []
    assert await known(store, "b", session_id="session-2") == ["b"]
    await keyed(store, "a")


async def test_keys_expire_with_their_session(store: Store) -> None:
    head = await saved(store, used=[used("a")], expires_at=time.time() + DAY)
    await saved(store, head, used=[used("b")], expires_at=time.time() - 1)
    await saved(store, None, [b"new"], used=[used("b")])
    assert await known(store, "a", "b") == ["b"]


async def test_the_last_keys_are_known_however_old(store: Store, set_clock: Callable[[float], None]) -> None:
    store.key_memory = KeyMemory(count=3)
    head = await keyed(store, *"abcde")
    set_clock(DAY + 60)
    head = await keyed(store, "f", head=head)
    assert await known(store, *"abcdef") == list("def")
    set_clock(9 * DAY)
    with pytest.raises(KeyUsed):
        await keyed(store, "d", head=head)


async def test_older_keys_are_known_for_a_day(store: Store, set_clock: Callable[[float], None]) -> None:
    store.key_memory = KeyMemory(count=2)
    head = await keyed(store, *"abc")
    set_clock(DAY / 2)
    head = await keyed(store, *"defg", head=head)
    set_clock(DAY - 60)
    head = await keyed(store, "h", head=head)
    assert await known(store, *"abcdefgh") == list("abcdefgh")
    set_clock(DAY + 60)
    await keyed(store, "i", head=head)
    assert await known(store, *"abcdefghi") == list("defghi")


async def test_no_more_than_the_most_keys_are_kept(store: Store) -> None:
    store.key_memory = KeyMemory(count=2, most=4)
    head = await keyed(store, *"abcdefgh")
    assert await known(store, *"abcdefgh") == list("efgh")
    await saved(store, head, used=[used(key) for key in "ijklmnop"])  # more than one save takes away
    assert await known(store, *"hijklmnop") == list("ijklmnop")


async def test_4096_keys_are_always_known_100000_for_a_day(store: Store) -> None:
    assert (store.key_memory.count, store.key_memory.seconds, store.key_memory.most) == (4096, DAY, 100_000)
    store.key_memory = KeyMemory(seconds=0)
    names = [f"{i}" for i in range(4100)]
    head = None
    for start in range(0, len(names), 100):
        head = await saved(store, head, used=[used(name) for name in names[start : start + 100]])
    assert await known(store, *names[:6]) == names[4:6]
    assert await known(store, *names[4:]) == names[4:]
