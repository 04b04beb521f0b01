"""The index of sessions in Redis."""

from typing import Any

import pytest
from redis import Redis

from app.settings import Settings
from app.store import open_store
from app.store.redis_names import tenant_key
from tests.store.changes import saved
from tests.store.places import RedisPlace


async def test_a_list_and_a_sweep_remove_dead_ids(redis_place: RedisPlace, redis: Redis) -> None:
    for i in range(40):
        redis.zadd(tenant_key("tenant-1"), {f"gone-{i}": 0})
    head = await saved(redis_place.store)
    assert await redis_place.store.list("tenant-1", 10) == [head]
    assert redis.zcard(tenant_key("tenant-1")) == 1
    redis.zadd(tenant_key("tenant-1"), {f"gone-{i}": 0 for i in range(40)})
    assert await redis_place.store.sweep() == 40
    assert redis.zrange(tenant_key("tenant-1"), 0, -1) == [b"session-1"]


async def test_a_new_session_is_listed_despite_sweeps_during_its_save(
    redis_place: RedisPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = redis_place.store._redis.ask
    async with open_store(Settings(store=redis_place.url)) as other:

        async def one_by_one(*commands: Any) -> list[Any]:
            answers = []
            for command in commands:
                answers += await ask(command)
                await other.sweep()
            return answers

        monkeypatch.setattr(redis_place.store._redis, "ask", one_by_one)
        head = await saved(redis_place.store)
        assert await other.list("tenant-1", 10) == [head]
