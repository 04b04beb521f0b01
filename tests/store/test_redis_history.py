"""The history of a session in Redis."""

from redis import Redis

from app.store.redis_names import history_key, marks_key
from tests.store.changes import mark, row, saved
from tests.store.places import RedisPlace


async def test_a_row_without_a_head_is_left_for_later(redis_place: RedisPlace, redis: Redis) -> None:
    """Holds because a reader that goes on from such a row could miss one that was saved before it."""
    store = redis_place.store
    await saved(store, await saved(store, row=row(1)), mark=mark("mark"))
    redis.zadd(history_key("session-1"), {b"%016d%016dlater" % (2, 3): 2})
    redis.zadd(marks_key("session-1"), {b"%016dundo later" % 3: 3})
    assert [each.number for each in await store.newer("session-1", 0, 10)] == [1, 2]


async def test_a_lookup_of_newer_rows_takes_few_calls(redis_place: RedisPlace, redis: Redis) -> None:
    await saved(redis_place.store)
    redis.zadd(history_key("session-1"), {b"%016d%016dbody" % (step, step): step for step in range(1, 20_000)})
    for version, most in ((19_998, 3), (10_000, 40), (0, 40)):
        redis.config_resetstat()
        await redis_place.store.newer("session-1", version, 3)
        assert 0 < redis.info("commandstats")["cmdstat_zrange"]["calls"] <= most
