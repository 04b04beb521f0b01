"""Saves to Redis: their pieces on the way, and after a failure."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
import uvloop
from redis import Redis

from app.errors import StateDamaged, StoreUnavailable
from app.settings import Settings
from app.store import open_store, redis_pieces
from app.store.redis_names import history_key, piece_keys
from app.store.stamp import VersionConflict
from tests import redis_user
from tests.chaos.fault_proxy import FaultProxy
from tests.servers import RedisServer
from tests.store.changes import change_of, row, saved, state_of
from tests.store.places import RedisPlace, place_at
from tests.store.savings import begun, written_and_refused

MIB = 1 << 20


async def test_a_piece_expires_until_a_save_takes_it(redis_place: RedisPlace, redis: Redis) -> None:
    change = change_of(None)
    key = f"optim:{{session-1}}:piece:{change.head.pieces[0].name}"
    redis.set(key, b"one", px=redis_pieces.STAGED_MS)
    await redis_place.store.save(change)
    assert redis.pttl(key) == -1
    assert await state_of(redis_place.store, change.head) == b"onetwo"


async def test_a_repeated_save_puts_no_expiry_on_pieces_in_use(redis_place: RedisPlace, redis: Redis) -> None:
    first = change_of(None, [b"stays", b"old"])
    await redis_place.store.save(first)
    await redis_place.store.save(first)
    second = await saved(redis_place.store, first.head, [b"stays", b"new"])
    with pytest.raises(VersionConflict):
        await redis_place.store.save(first)
    assert await state_of(redis_place.store, second) == b"staysnew"
    assert {redis.pttl(key) for key in redis.scan_iter(b"*{session-1}*")} == {-1}


async def test_a_save_that_takes_too_long_is_refused_whole(
    redis_place: RedisPlace, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    head = await saved(redis_place.store)
    monkeypatch.setattr(redis_pieces, "STAGED_MS", 1)
    with pytest.raises(StoreUnavailable, match="expired before the save was done"):
        await saved(redis_place.store, head, [b"%d" % i * MIB for i in range(20)], row=row(1))
    assert await redis_place.store.load("session-1") == head
    assert await state_of(redis_place.store, head) == b"onetwo"
    assert redis.exists(history_key("session-1")) == 0


async def test_a_save_that_keeps_a_lost_piece_is_damage(redis_place: RedisPlace) -> None:
    head = await saved(redis_place.store, None, [b"kept", b"old"])
    await redis_place.put_piece("session-1", head.pieces[0].name, None)
    with pytest.raises(StateDamaged, match=head.pieces[0].name):
        await saved(redis_place.store, head, [b"kept", b"new"])
    assert await redis_place.store.load("session-1") == head


async def test_running_out_of_memory_tears_nothing(redis_place: RedisPlace, redis: Redis) -> None:
    head = await saved(redis_place.store, None, [bytes(MIB), b"old"], row=row(1))
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 5 * MIB)
    with pytest.raises(StoreUnavailable, match="out of memory: raise its maxmemory"):
        await saved(redis_place.store, head, [b"%d" % i * MIB for i in range(40)], row=row(2))
    redis.config_set("maxmemory", 1)
    with pytest.raises(StoreUnavailable, match="out of memory"):
        await saved(redis_place.store, head, [bytes(MIB)], document=b"nothing fresh", forget_after=0)
    assert await redis_place.store.load("session-1") == head
    assert await state_of(redis_place.store, head) == bytes(MIB) + b"old"
    assert await redis_place.store.history("session-1", 0, 10) == [b"row 1"]
    assert set(await redis_place.pieces("session-1")) == {piece.name for piece in head.pieces}
    assert await redis_place.store.delete("session-1") is True
    redis.config_set("maxmemory", 0)
    await saved(redis_place.store)


@pytest.mark.usefixtures("redis_url")
async def test_a_lost_answer_leaves_the_save_done_once(redis_server: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(FaultProxy(redis_server.port))
        store = await stack.enter_async_context(open_store(Settings(store=proxy.redis_url, store_timeout_seconds=0.5)))
        first = await saved(store, row=row(1))
        change = change_of(first, [b"one", b"new"], row=row(2))
        proxy.requests.clear()
        proxy.mute = True
        with pytest.raises(StoreUnavailable, match="did not answer within OPTIM_STORE_TIMEOUT_SECONDS"):
            await store.save(change)
        assert proxy.requests.count(b"EVALSHA") == 1
        proxy.mute = False
        assert await store.load("session-1") == change.head
        await store.save(change)
        assert await state_of(store, change.head) == b"onenew"
        assert await store.history("session-1", 0, 10) == [b"row 1", b"row 2"]


@pytest.mark.usefixtures("redis_url")
async def test_a_stale_large_save_sends_no_pieces(redis_server: RedisServer) -> None:
    async with AsyncExitStack() as stack:
        proxy = await stack.enter_async_context(FaultProxy(redis_server.port))
        store = await stack.enter_async_context(open_store(Settings(store=proxy.redis_url)))
        head = await saved(store)
        with pytest.raises(VersionConflict):
            await saved(store, replace(head, token="lost"), [b"needle %d" % i for i in range(40)])
        assert b"needle" not in proxy.requests


async def test_a_cancelled_save_is_done_wholly_or_not(redis_place: RedisPlace) -> None:
    head = await saved(redis_place.store, None, [b"%d" % i for i in range(40)])
    for lap in range(40):
        change = change_of(head, [b"%d" % i for i in range(lap + 1, lap + 41)])
        task = asyncio.create_task(redis_place.store.save(change))
        await asyncio.sleep(0.0002 * lap)
        task.cancel()
        await asyncio.wait([task])
        found = await redis_place.store.load("session-1")
        assert found in (head, change.head)
        assert found
        assert await state_of(redis_place.store, found) == b"".join(
            b"%d" % i for i in (range(lap + 1, lap + 41) if found == change.head else range(lap, lap + 40))
        )
        head = await saved(redis_place.store, found, [b"%d" % i for i in range(lap + 1, lap + 41)])


@pytest.mark.parametrize("pieces", [2, 40])
async def test_the_pieces_of_a_refused_save_go_at_once(redis_place: RedisPlace, pieces: int) -> None:
    head = await saved(redis_place.store)
    with pytest.raises(VersionConflict):
        await saved(redis_place.store, replace(head, token="lost"), [b"%d" % i for i in range(pieces)])
    assert set(await redis_place.pieces("session-1")) == {piece.name for piece in head.pieces}


async def test_a_full_redis_refuses_written_pieces_and_says_so(own_redis: RedisServer) -> None:
    place = RedisPlace(own_redis.url, place_at(own_redis.url).store)
    async with place.store:
        head = await saved(place.store)
        place.client.config_set("maxmemory", place.client.info("memory")["used_memory"] + 5 * MIB)
        await written_and_refused(place, head, "out of memory: raise its maxmemory")
        assert set(await place.pieces("session-1")) == {piece.name for piece in head.pieces}
    place.client.close()


async def test_the_save_tells_of_a_redis_lost_meanwhile(own_redis: RedisServer) -> None:
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


def test_the_save_tells_of_a_connection_reset_between_pieces(own_redis: RedisServer) -> None:
    async def run() -> None:
        async with place_at(own_redis.url).store as store:
            change = change_of(await saved(store), [b"%d" % i * MIB for i in range(5)])
            async with begun(store, change, change.fresh[:1]) as saving:
                key = piece_keys("session-1", change.head.pieces[:1])
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
            keys = piece_keys("session-1", [piece for piece, _ in change.fresh])
            assert all(0 < client.pttl(key) <= redis_pieces.STAGED_MS for key in keys)
            client.close()
