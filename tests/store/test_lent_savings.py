"""The savings that stores lend: pieces are written while the rest of their save is still computed."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
import uvloop
from redis import Redis

from app.errors import StoreUnavailable
from app.store import redis_saving
from app.store.base import Head, Part, Save, Saving, Store, VersionConflict
from tests import redis_user
from tests.servers import RedisServer
from tests.store.changes import change_of, row, saved, state_of
from tests.store.places import Place, RedisPlace, place_at, second_store

MIB = 1 << 20


@asynccontextmanager
async def begun(store: Store, save: Save, parts: Sequence[Part] | None = None) -> AsyncIterator[Saving]:
    """Lend a saving with the fresh pieces, or some of them, on their way."""
    async with store.saving(save.head.session_id, save.head.token) as saving:
        for part in save.fresh if parts is None else parts:
            saving.write(part)
        await asyncio.sleep(0)  # the event loop hears of it
        yield saving


async def settled(place: Place) -> None:
    """Return when the store has done what it was given."""
    await place.store.delete("nobody")


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


async def test_a_new_session_may_be_written_under_an_expired_name(place: Place) -> None:
    await saved(place.store, None, [b"old"], row=row(1), expires_at=time.time() - 1)
    change = change_of(None, [b"new", b"newer"], row=row(2))
    async with begun(place.store, change) as saving:
        await saving.save(change)
    assert await state_of(place.store, change.head) == b"newnewer"
    assert await place.store.history("session-1", 0, 10) == [b"row 2"]
    assert set(await place.pieces("session-1")) == {piece.name for piece in change.head.pieces}


# What only one of them can do


async def _written_and_refused(place: Place, head: Head, match: str) -> None:
    change = change_of(head, [b"%d" % i * MIB for i in range(12)], row=row(1))
    async with begun(place.store, change) as saving:
        with pytest.raises(StoreUnavailable, match=match):
            await saving.save(change)
    assert await place.store.load("session-1") == head
    assert await state_of(place.store, head) == b"onetwo"
    assert await place.store.history("session-1", 0, 10) == []


async def test_an_lmdb_that_is_full_refuses_what_was_written_and_says_so(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    place = place_at(f"lmdb:{tmp_path_factory.mktemp('full')}", lmdb_map_bytes=6 * MIB)
    async with place.store:
        head = await saved(place.store)
        await _written_and_refused(place, head, "is full: delete sessions or raise OPTIM_LMDB_MAP_BYTES")
        await settled(place)
        assert set(await place.pieces("session-1")) == {piece.name for piece in head.pieces}


async def test_a_redis_out_of_memory_refuses_what_was_written_and_says_so(own_redis: RedisServer) -> None:
    place = RedisPlace(own_redis.url, place_at(own_redis.url).store)
    async with place.store:
        head = await saved(place.store)
        place.client.config_set("maxmemory", place.client.info("memory")["used_memory"] + 5 * MIB)
        await _written_and_refused(place, head, "out of memory: raise its maxmemory")
        assert set(await place.pieces("session-1")) == {piece.name for piece in head.pieces}
    place.client.close()


async def test_a_redis_that_went_away_while_pieces_left_is_told_by_the_save(own_redis: RedisServer) -> None:
    place = place_at(own_redis.url)
    async with place.store as store:
        head = await saved(store)
        change = change_of(head, [b"%d" % i * MIB for i in range(12)])
        async with begun(store, change, change.fresh[:6]) as saving:
            own_redis.kill()
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                await saving.save(change)
        own_redis.start()
        assert await store.load("session-1") == head
        await store.save(change)
        assert await state_of(store, change.head) == b"".join(b"%d" % i * MIB for i in range(12))


def test_a_redis_that_resets_a_connection_between_two_pieces_is_told_by_the_save(own_redis: RedisServer) -> None:
    async def run() -> None:
        async with place_at(own_redis.url).store as store:
            change = change_of(await saved(store), [b"%d" % i * MIB for i in range(5)])
            async with begun(store, change, change.fresh[:1]) as saving:
                key = redis_saving.piece_keys("session-1", change.head.pieces[:1])
                with own_redis.client() as redis:
                    while not redis.exists(*key):  # noqa: ASYNC110 (Redis tells nobody)
                        await asyncio.sleep(0)
                own_redis.kill()
                for part in change.fresh[1:]:  # the first of them is what is answered by a reset
                    saving.write(part)
                    await asyncio.sleep(0.01)
                with pytest.raises(StoreUnavailable, match="cannot be reached"):
                    await saving.save(change)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:  # which the service runs on
        runner.run(run())


async def test_a_piece_written_to_redis_expires(redis_url: str) -> None:
    async with place_at(redis_url).store as store:
        head = await saved(store)
        change = change_of(head, [b"three", b"four"])
        async with begun(store, change) as saving:
            await saving.upload.finish(("GET", "optim:none"))  # type: ignore[attr-defined]
            client = Redis.from_url(redis_user.admin_s(redis_url))
            keys = redis_saving.piece_keys("session-1", [piece for piece, _ in change.fresh])
            assert all(0 < client.pttl(key) <= redis_saving.STAGED_MS for key in keys)
            client.close()
