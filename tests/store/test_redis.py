"""The Redis store: its keys, its warnings, and a server that goes away."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from app.errors import StoreUnavailable
from app.settings import Settings
from app.store import open_store
from tests.servers import RedisServer
from tests.store.changes import DAY, change_of, row, saved, state_of
from tests.store.places import RedisPlace


async def test_all_keys_of_a_session_expire_together(redis_place: RedisPlace, redis: Redis) -> None:
    expires_at = time.time() + DAY
    await saved(redis_place.store, row=row(1), expires_at=expires_at)
    keys = {*redis.scan_iter(b"*{session-1}*")}
    assert len(keys) == 4
    assert all(abs(redis.pexpiretime(key) - expires_at * 1000) < 60_000 for key in keys)
    assert {*redis.scan_iter()} - keys == {b"optim:format", b"optim:tenants", b"optim:tenant:tenant-1"}


async def test_a_killed_server_is_an_error_until_it_returns(redis_place: RedisPlace, own_redis: RedisServer) -> None:
    store = redis_place.store
    head = await saved(store, row=row(1))
    own_redis.kill()
    for call in (
        store.ping,
        lambda: store.load("session-1"),
        lambda: saved(store, head),
        lambda: state_of(store, head),
    ):
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await call()
    own_redis.start()
    assert await store.load("session-1") == head
    head = await saved(store, head, [b"one", b"new"], row=row(2))
    assert await state_of(store, head) == b"onenew"
    assert await store.history("session-1", 0, 10) == [b"row 1", b"row 2"]


async def test_a_restarted_server_costs_no_call(redis_place: RedisPlace, own_redis: RedisServer) -> None:
    head = await saved(redis_place.store)
    own_redis.kill()
    own_redis.start()
    for _ in range(3):
        await asyncio.sleep(0)  # the event loop hears of it
    assert await redis_place.store.load("session-1") == head


async def test_opening_without_a_server_is_an_error(own_redis: RedisServer) -> None:
    own_redis.kill()
    store = open_store(Settings(store=own_redis.url))
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await store.open()
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.ping()


async def test_a_hanging_server_leaves_the_old_or_new_state(redis_place: RedisPlace, redis: Redis) -> None:
    async with open_store(Settings(store=redis_place.url, store_timeout_seconds=0.5)) as store:
        head = await saved(redis_place.store, row=row(1))
        change = change_of(head, [b"one", b"new"], row=row(2))
        redis.execute_command("CLIENT", "PAUSE", 700, "ALL")
        with pytest.raises(StoreUnavailable):
            await store.save(change)
        found = await redis_place.store.load("session-1")
        assert found in (head, change.head)
        assert found
        assert await state_of(redis_place.store, found) == (b"onetwo" if found == head else b"onenew")
        await store.save(change)
        assert await state_of(store, change.head) == b"onenew"
        assert await store.history("session-1", 0, 10) == [b"row 1", b"row 2"]


async def test_a_unix_socket_works(tmp_path: Path) -> None:
    server = RedisServer(tmp_path, "--unixsocket", str(tmp_path / "s")).start()
    try:
        async with open_store(Settings(store=f"unix://{tmp_path / 's'}?db=3")) as store:
            head = await saved(store)
            assert await state_of(store, head) == b"onetwo"
        with server.client() as client:
            assert client.info("keyspace")["db3"]["keys"] == 6
    finally:
        server.kill()


async def test_a_redis_that_may_lose_steps_is_warned_about(redis_place: RedisPlace, redis: Redis) -> None:
    assert await redis_place.store.warnings() == []
    redis.config_set("appendonly", "no")
    redis.config_set("maxmemory", "1gb")
    redis.config_set("maxmemory-policy", "allkeys-lru")
    memory, disk = await redis_place.store.warnings()
    assert "noeviction" in memory
    assert "no append-only file" in disk


async def test_a_delete_also_removes_a_save_during_it(redis_place: RedisPlace, monkeypatch: pytest.MonkeyPatch) -> None:
    head = await saved(redis_place.store)
    leap = redis_place.store._redis.run

    async def after_a_save(*arguments: Any) -> Any:
        monkeypatch.undo()
        await saved(redis_place.store, head, [b"one", b"new"])
        return await leap(*arguments)

    monkeypatch.setattr(redis_place.store._redis, "run", after_a_save)
    assert await redis_place.store.delete("session-1") is True
    assert await redis_place.pieces("session-1") == {}
    assert await redis_place.store.load("session-1") is None
