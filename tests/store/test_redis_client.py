"""The client of Redis: cancelled calls, many calls, and servers that refuse."""

import asyncio
from pathlib import Path

import pytest
from redis import Redis

from app.errors import StoreUnavailable
from app.settings import Settings
from app.store import open_store
from app.store.redis_names import head_key
from tests.servers import RedisServer, free_port
from tests.store.changes import saved, state_of
from tests.store.places import RedisPlace


async def test_a_cancelled_call_never_leaks_its_reply(redis_place: RedisPlace) -> None:
    store = redis_place.store
    heads = [await saved(store, None, [b"%d" % i * 50_000], session_id=f"{i}") for i in range(8)]

    async def look(i: int) -> None:
        assert await store.load(f"{i}") == heads[i]
        assert await state_of(store, heads[i]) == b"%d" % i * 50_000

    for lap in range(60):
        tasks = [asyncio.create_task(look(i % 8)) for i in range(40)]
        await asyncio.sleep(0.0003 * (lap % 20))
        for task in tasks[::2]:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} <= {type(None), asyncio.CancelledError}
        assert outcomes[1::2] == [None] * 20


async def test_calls_beyond_the_connections_wait_for_one(redis_place: RedisPlace, redis: Redis) -> None:
    head = await saved(redis_place.store)
    assert await asyncio.gather(*(redis_place.store.load("session-1") for _ in range(500))) == [head] * 500
    ours = [client for client in redis.client_list() if client["name"] == "optim-service"]
    assert len(ours) <= 32


async def test_a_wrong_password_is_refused_without_being_shown(own_redis: RedisServer) -> None:
    with own_redis.client() as client:
        client.config_set("requirepass", "p%40ss")
    url = f"redis://:{{}}@127.0.0.1:{own_redis.port}"
    async with open_store(Settings(store=url.format("p%2540ss"))) as store:
        await store.ping()
    for refused in (url.format("secret"), own_redis.url):
        with pytest.raises(StoreUnavailable, match="refuses the user or the password") as refusal:
            await open_store(Settings(store=refused)).open()
        assert "secret" not in str(refusal.value)


async def test_a_head_of_the_wrong_type_says_so(redis_place: RedisPlace, redis: Redis) -> None:
    redis.lpush(head_key("session-1"), "not a head")
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        await redis_place.store.load("session-1")


async def test_a_cluster_is_refused_by_name(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--cluster-enabled", "yes", "--cluster-port", str(free_port())).start()
    try:
        with pytest.raises(StoreUnavailable, match=r"is a cluster: write redis\+cluster:// in OPTIM_STORE"):
            await open_store(Settings(store=server.url)).open()
    finally:
        server.kill()


@pytest.mark.long
async def test_a_loading_server_is_refused_until_it_is_done(own_redis: RedisServer) -> None:
    async with open_store(Settings(store=own_redis.url)) as store:
        await asyncio.gather(*(saved(store, None, [bytes(1000)] * 5, session_id=f"{i}") for i in range(400)))
        own_redis.kill()
        own_redis.options += ("--key-load-delay", "200")
        own_redis.launch()
        seen = set()
        for _ in range(500):
            try:
                await store.ping()
                break
            except StoreUnavailable as refusal:
                seen.add(refusal.detail.partition(" (")[0])
            await asyncio.sleep(0.02)
        assert "Redis is loading its data: try again in a moment" in seen
        await saved(store)
