"""The deletion of a session in Redis."""

from redis import Redis

from tests.store.changes import saved
from tests.store.ledgers import ledger_change, ledger_saved
from tests.store.places import RedisPlace


async def test_a_delete_of_an_unreadable_ledger_finds_all_keys(redis_place: RedisPlace, redis: Redis) -> None:
    await saved(redis_place.store)
    await ledger_saved(redis_place.store, None, [b"a", b"b"])
    await redis_place.put_ledger("session-1", b"garbage")
    assert await redis_place.store.delete("session-1") is True
    assert [key for key in redis.keys("optim:*") if b"session-1" in key] == []


async def test_a_delete_takes_a_contribution_that_just_came(redis_place: RedisPlace, redis: Redis) -> None:
    store = redis_place.store
    await saved(store)
    change, ask = ledger_change(None, [b"a"]), store._redis.ask

    async def slow(*commands, **named):  # type: ignore[no-untyped-def]
        """Let the contribution come between the look at the session and its end."""
        answers = await ask(*commands, **named)
        store._redis.ask = ask
        await store.save_ledger(change)
        return answers

    store._redis.ask = slow
    assert await store.delete("session-1") is True
    assert [key for key in redis.keys("optim:*") if b"session-1" in key] == []
