"""What every store promises about pieces that are written while the rest of their save is still computed."""

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import replace

import pytest
import uvloop
from redis import Redis

from app.errors import StoreUnavailable
from app.store import redis as redis_store
from app.store.base import Head, Part, Save, Staging, Store, VersionConflict
from tests import redis_user
from tests.servers import RedisServer
from tests.store.changes import change_of, row, saved, state_of
from tests.store.places import Place, RedisPlace, place_at, second_store

MIB = 1 << 20


async def begun(store: Store, change: Save, parts: Sequence[Part] | None = None) -> Save:
    """The change with its fresh pieces, or some of them, on their way."""
    staging = store.stage(change.head.session_id, change.head.token)
    for part in change.fresh if parts is None else parts:
        staging.write(part)
    await asyncio.sleep(0)  # the event loop hears of it
    return replace(change, staging=staging)


def staging_of(change: Save) -> Staging:
    assert change.staging
    return change.staging


async def settled(place: Place) -> None:
    """Return when the store has done what it was given."""
    await place.store.delete("nobody")


@pytest.mark.parametrize("staged", [0, 1, 20, 40])
async def test_a_save_names_what_was_staged_and_brings_the_rest(place: Place, staged: int) -> None:
    first = await saved(place.store, None, [b"stays", b"old"], row=row(1))
    parts = [b"stays", *(b"%d" % i * 50_000 for i in range(40))]
    change = change_of(first, parts, row=row(2))
    change = await begun(place.store, change, change.fresh[:staged])
    assert await place.store.load("session-1") == first
    assert await state_of(place.store, first) == b"staysold"
    await place.store.save(change)
    assert await place.store.load("session-1") == change.head
    assert await state_of(place.store, change.head) == b"".join(parts)
    assert set(await place.pieces("session-1")) == {piece.name for piece in change.head.pieces}
    assert await place.store.history("session-1", 0, 10) == [b"row 1", b"row 2"]


async def test_a_staged_save_that_comes_twice_happens_once(place: Place) -> None:
    head = await saved(place.store)
    change = await begun(place.store, change_of(head, [b"three", b"four"], row=row(1)))
    await place.store.save(change)
    await place.store.save(change)
    assert await state_of(place.store, change.head) == b"threefour"
    assert await place.store.history("session-1", 0, 10) == [b"row 1"]
    assert set(await place.pieces("session-1")) == {piece.name for piece in change.head.pieces}


async def test_pieces_come_from_many_threads(store: Store) -> None:
    head = await saved(store)
    parts = [bytes([i]) * MIB for i in range(24)]
    change = change_of(head, parts)
    staging = store.stage("session-1", change.head.token)
    threads = [threading.Thread(target=staging.write, args=(part,)) for part in reversed(change.fresh)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    await store.save(replace(change, staging=staging))
    assert await state_of(store, change.head) == b"".join(parts)


@pytest.mark.parametrize("pieces", [2, 40])
async def test_what_is_discarded_goes_and_nothing_is_written_afterwards(place: Place, pieces: int) -> None:
    head = await saved(place.store)
    change = await begun(place.store, change_of(head, [b"%d" % i * 1000 for i in range(pieces)]))
    await staging_of(change).discard()
    for part in change.fresh:
        staging_of(change).write(part)
    await settled(place)
    assert set(await place.pieces("session-1")) == {piece.name for piece in head.pieces}
    assert await state_of(place.store, head) == b"onetwo"


@pytest.mark.parametrize("pieces", [2, 40])
async def test_a_refused_save_takes_back_what_it_staged(place: Place, pieces: int) -> None:
    first = await saved(place.store)
    change = await begun(place.store, change_of(first, [b"%d" % i * 1000 for i in range(pieces)]))
    async with second_store(place) as other:
        second = await saved(other, first, [b"one", b"quicker"])
    with pytest.raises(VersionConflict):
        await place.store.save(change)
    await settled(place)
    assert set(await place.pieces("session-1")) == {piece.name for piece in second.pieces}
    assert await state_of(place.store, second) == b"onequicker"


async def test_a_session_that_is_deleted_meanwhile_stays_deleted(place: Place) -> None:
    head = await saved(place.store)
    change = await begun(place.store, change_of(head, [b"three", b"four"]))
    await settled(place)
    await place.store.delete("session-1")
    with pytest.raises(VersionConflict):
        await place.store.save(change)
    await settled(place)
    assert await place.store.load("session-1") is None
    assert await place.pieces("session-1") == {}


async def test_a_new_session_may_be_staged_under_an_expired_name(place: Place) -> None:
    await saved(place.store, None, [b"old"], row=row(1), expires_at=time.time() - 1)
    change = await begun(place.store, change_of(None, [b"new", b"newer"], row=row(2)))
    await place.store.save(change)
    assert await state_of(place.store, change.head) == b"newnewer"
    assert await place.store.history("session-1", 0, 10) == [b"row 2"]
    assert set(await place.pieces("session-1")) == {piece.name for piece in change.head.pieces}


# What only one of them can do


async def _staged_and_refused(place: Place, head: Head, match: str) -> None:
    change = await begun(place.store, change_of(head, [b"%d" % i * MIB for i in range(12)], row=row(1)))
    with pytest.raises(StoreUnavailable, match=match):
        await place.store.save(change)
    assert await place.store.load("session-1") == head
    assert await state_of(place.store, head) == b"onetwo"
    assert await place.store.history("session-1", 0, 10) == []


async def test_an_lmdb_that_is_full_refuses_what_was_staged_and_says_so(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    place = place_at(f"lmdb:{tmp_path_factory.mktemp('full')}", lmdb_map_bytes=6 * MIB)
    async with place.store:
        head = await saved(place.store)
        await _staged_and_refused(place, head, "is full: delete sessions or raise OPTIM_LMDB_MAP_BYTES")
        await settled(place)
        assert set(await place.pieces("session-1")) == {piece.name for piece in head.pieces}


async def test_a_redis_out_of_memory_refuses_what_was_staged_and_says_so(own_redis: RedisServer) -> None:
    place = RedisPlace(own_redis.url, place_at(own_redis.url).store)
    async with place.store:
        head = await saved(place.store)
        place.client.config_set("maxmemory", place.client.info("memory")["used_memory"] + 5 * MIB)
        await _staged_and_refused(place, head, "out of memory: raise its maxmemory")
        assert set(await place.pieces("session-1")) == {piece.name for piece in head.pieces}
    place.client.close()


async def test_a_redis_that_went_away_while_pieces_left_is_told_by_the_save(own_redis: RedisServer) -> None:
    place = place_at(own_redis.url)
    async with place.store as store:
        head = await saved(store)
        change = change_of(head, [b"%d" % i * MIB for i in range(12)])
        change = await begun(store, change, change.fresh[:6])
        own_redis.kill()
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await store.save(change)
        own_redis.start()
        assert await store.load("session-1") == head
        await store.save(change)
        assert await state_of(store, change.head) == b"".join(b"%d" % i * MIB for i in range(12))


def test_a_redis_that_resets_a_connection_between_two_pieces_is_told_by_the_save(own_redis: RedisServer) -> None:
    async def run() -> None:
        async with place_at(own_redis.url).store as store:
            change = change_of(await saved(store), [b"%d" % i * MIB for i in range(5)])
            change = await begun(store, change, change.fresh[:1])
            key = redis_store.piece_keys("session-1", change.head.pieces[:1])
            with own_redis.client() as redis:
                while not redis.exists(*key):  # noqa: ASYNC110 (Redis tells nobody)
                    await asyncio.sleep(0)
            own_redis.kill()
            for part in change.fresh[1:]:  # the first of them is what is answered by a reset
                staging_of(change).write(part)
                await asyncio.sleep(0.01)
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                await store.save(change)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # which the service runs on
        runner.run(run())


async def test_what_is_staged_in_redis_expires(redis_url: str) -> None:
    async with place_at(redis_url).store as store:
        head = await saved(store)
        change = await begun(store, change_of(head, [b"three", b"four"]))
        upload = staging_of(change).upload  # type: ignore[attr-defined]
        await upload.finish(("GET", "optim:none"))
        with Redis.from_url(redis_user.admin_s(redis_url)) as client:
            keys = redis_store.piece_keys("session-1", [piece for piece, _ in change.fresh])
            assert all(0 < client.pttl(key) <= redis_store.STAGED_MS for key in keys)
