"""The times at which ledgers in Redis are due."""

import time

from redis import Redis

from app.store import redis_due
from tests.store.changes import saved
from tests.store.ledgers import ledger_change, ledger_saved
from tests.store.places import RedisPlace


async def test_an_entry_has_the_token_of_its_ledger(redis_place: RedisPlace, redis: Redis) -> None:
    await saved(redis_place.store)
    ledger = await ledger_saved(redis_place.store, due_at=1.25)
    assert redis.zrange("optim:due", 0, -1, withscores=True) == [(f"session-1 {ledger.token}".encode(), 1.25)]


async def test_entries_of_lost_saves_hide_no_other(redis_place: RedisPlace) -> None:
    store = redis_place.store
    await saved(store)
    ledger = await ledger_saved(store, due_at=5.0)
    for due_at in (7.0, 3.0):  # saves that never came
        await store._redis.ask(*redis_due.added(ledger_change(ledger, due_at=due_at).ledger))
    assert await store.due() == [("session-1", 3.0), ("session-1", 5.0), ("session-1", 7.0)]


async def test_a_sweep_removes_old_entries_of_other_ledgers(redis_place: RedisPlace) -> None:
    store, now = redis_place.store, time.time()
    await saved(store)
    ledger = await ledger_saved(store, due_at=now - 100)
    for due_at in (now - 100, now):  # saves that never came, or are under way
        await store._redis.ask(*redis_due.added(ledger_change(ledger, due_at=due_at).ledger))
    await store._redis.ask(*redis_due.added(ledger_change(None, session_id="a gone one", due_at=1.0).ledger))
    assert await store.sweep() == 2
    assert await store.due() == [("session-1", now - 100), ("session-1", now)]
    await ledger_saved(store, ledger)
    assert await store.due() == [("session-1", now)]


async def test_an_entry_whose_ledger_just_came_is_put_back(redis_place: RedisPlace) -> None:
    store = redis_place.store
    await saved(store)
    change, ask = ledger_change(due_at=1.0), store._redis.ask
    await ask(*redis_due.added(change.ledger))

    async def slow(*commands, **named):  # type: ignore[no-untyped-def]
        """Let the ledger come between the look at it and the removal of its entry."""
        answers = await ask(*commands, **named)
        if commands[0][0] == "GETRANGE":
            store._redis.ask = ask
            await store.save_ledger(change)
        return answers

    store._redis.ask = slow
    assert await store.sweep() == 0
    assert await store.due() == [("session-1", 1.0)]
