"""The room that sessions take in Redis, and the connections to it."""

from redis import Redis

from app.settings import Settings
from app.store import open_store
from tests import redis_user
from tests.store.changes import saved
from tests.store.places import RedisPlace


async def test_the_limit_is_that_of_redis(redis_place: RedisPlace, redis: Redis) -> None:
    await saved(redis_place.store)
    usage = await redis_place.store.usage()
    assert (usage.sessions, usage.limit) == (1, None)
    redis.config_set("maxmemory", 1 << 30)
    assert (await redis_place.store.usage()).limit == 1 << 30


async def test_connections_are_used_or_idle(redis_place: RedisPlace) -> None:
    (connections,) = redis_place.store.families
    assert connections.values() == {("used",): [0], ("idle",): [1]}


async def test_a_user_who_may_not_count_tells_no_number(redis_place: RedisPlace, redis: Redis) -> None:
    await saved(redis_place.store)
    async with open_store(Settings(store=redis_user.made(redis_place.url))) as store:
        usage = await store.usage()
        assert usage.sessions == 1
        assert (usage.nbytes or 0) > 1000
        redis.execute_command("ACL", "SETUSER", redis_user.NAME, "-zcard")
        assert (await store.usage()).sessions is None
