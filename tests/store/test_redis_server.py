"""The server behind the store in Redis: what it says a crash loses."""

import pytest
from redis import Redis

from app.settings import Settings
from app.store import open_store
from app.store.redis_server import RedisServer
from tests.store.places import RedisPlace


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"appendfsync": "always"}, "an answered step survives a power cut"),
        ({"appendfsync": "everysec"}, "a power cut of Redis's machine loses up to 2 seconds of steps"),
        ({"appendfsync": "no"}, "about 30 seconds"),
        ({"appendonly": "no"}, "a crash of Redis loses the steps since its last snapshot"),
    ],
)
async def test_the_durability_is_that_of_the_append_only_file(
    redis_place: RedisPlace, redis: Redis, settings: dict[str, str], words: str
) -> None:
    for name, value in settings.items():
        redis.config_set(name, value)
    assert words in await redis_place.store.durability()


async def test_the_least_user_does_not_know_the_appendfsync(redis_url: str) -> None:
    async with open_store(Settings(store=redis_url)) as store:
        assert "its appendfsync is not known here" in await store.durability()


@pytest.mark.parametrize(
    ("memory", "policy", "evicts"),
    [("0", "allkeys-lru", False), ("9", "allkeys-lru", True), ("9", "noeviction", False)],
)
def test_only_a_bounded_memory_with_a_policy_evicts(memory: str, policy: str, evicts: bool) -> None:
    assert RedisServer({"maxmemory": memory, "maxmemory_policy": policy}, {}).may_evict is evicts


def test_a_memory_without_a_limit_has_none() -> None:
    servers = [RedisServer({"used_memory": "7", "maxmemory": limit}, {}) for limit in ("0", "9")]
    assert [(server.used_bytes, server.limit_bytes) for server in servers] == [(7, None), (7, 9)]
