"""The Lua scripts."""

from redis import Redis

from tests.store.changes import saved, state_of
from tests.store.places import RedisPlace


async def test_scripts_that_redis_forgot_are_sent_again(redis_place: RedisPlace, redis: Redis) -> None:
    head = await saved(redis_place.store)
    redis.script_flush()
    head = await saved(redis_place.store, head, [b"one", b"new"])
    redis.script_flush()
    assert await state_of(redis_place.store, head) == b"onenew"
    assert await redis_place.store.delete("session-1") is True
