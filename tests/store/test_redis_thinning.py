"""The thinning of a session's history in Redis."""

from redis import Redis

from app.store.redis_names import history_key, thinned_key
from app.store.redis_thinning import THINNING
from tests.store.changes import row, saved
from tests.store.places import RedisPlace


def test_the_script_has_every_value() -> None:
    assert not {"LOOKS", "MOST_DOUBLINGS", "NOTABLE_SHARE", "IS_NOTABLE"} & set(THINNING.replace(")", " ").split())


async def test_a_save_at_the_limit_takes_few_calls(redis_place: RedisPlace, redis: Redis) -> None:
    store = redis_place.store
    store.history_limit = 100
    head = await saved(store, row=row(1))
    for step in range(2, 400):
        head = await saved(store, head, row=row(step))
    redis.config_resetstat()
    for step in range(400, 500):
        head = await saved(store, head, row=row(step))
    calls = redis.info("commandstats")
    assert calls["cmdstat_zremrangebyrank"]["calls"] == 100
    assert calls["cmdstat_zrange"]["calls"] < 800
    assert redis.zcard(history_key("session-1")) == 100


async def test_the_note_of_thinning_goes_with_its_session(redis_place: RedisPlace, redis: Redis) -> None:
    store = redis_place.store
    store.history_limit = 2
    head = None
    for step in range(1, 5):
        head = await saved(store, head, row=row(step))
    assert redis.exists(thinned_key("session-1"))
    await store.delete("session-1")
    assert not redis.exists(thinned_key("session-1"))
