"""The ledgers in Redis."""

import time

import pytest
from redis import Redis

from app.errors import StoreUnavailable
from app.store import redis_pieces
from tests.store.changes import DAY, saved
from tests.store.ledgers import ledger_change, ledger_saved
from tests.store.places import RedisPlace


async def test_a_ledger_and_its_pieces_have_the_heads_time(redis_place: RedisPlace, redis: Redis) -> None:
    store = redis_place.store
    head = await saved(store, expires_at=time.time() + DAY)
    ledger = await ledger_saved(store, await ledger_saved(store, None, [b"a"]), [b"b"])
    names = ["head", "ledger", *(f"piece:{piece.name}" for piece in ledger.pieces)]
    keys = [f"optim:{{session-1}}:{name}" for name in names]
    assert len({redis.pexpiretime(key) for key in keys}) == 1
    head = await saved(store, head, expires_at=time.time() + 2 * DAY)
    assert {redis.pexpiretime(key) for key in keys} == {redis.pexpiretime(keys[0])}
    assert redis.pttl(keys[0]) > 1.9 * DAY * 1000
    await saved(store, head)
    assert {redis.pttl(key) for key in keys} == {-1}


async def test_a_damaged_ledger_stops_no_save_of_the_head(redis_place: RedisPlace, redis: Redis) -> None:
    head = await saved(redis_place.store, expires_at=time.time() + DAY)
    await ledger_saved(redis_place.store)
    for garbage in (b"", b"garbage", b"a\n[]\n", b'a\n{"pieces":[[]]}\n'):
        await redis_place.put_ledger("session-1", garbage)
        head = await saved(redis_place.store, head, expires_at=time.time() + 2 * DAY)
        assert redis.pttl("optim:{session-1}:ledger") > DAY * 1000


async def test_a_piece_that_expired_before_its_save_is_told(
    redis_place: RedisPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = redis_place.store
    await saved(store)
    change = ledger_change(None, [b"%d" % i for i in range(2000)])
    with monkeypatch.context() as patch:
        patch.setattr(redis_pieces, "STAGED_MS", 1)
        with pytest.raises(StoreUnavailable, match="expired before the save was done; send it again"):
            await store.save_ledger(change)
    assert await store.ledger("session-1") is None
    await store.save_ledger(change)
    assert await store.ledger("session-1") == change.ledger


async def test_a_session_without_workers_has_no_more_keys(redis_place: RedisPlace, redis: Redis) -> None:
    await saved(redis_place.store, await saved(redis_place.store, expires_at=time.time() + DAY))
    kinds = {key.rpartition(b"}:")[2].partition(b":")[0] for key in redis.keys("optim:{session-1}:*")}
    assert kinds == {b"head", b"piece"}
    assert redis.exists("optim:due") == 0


async def test_a_full_redis_refuses_a_contribution_whole(redis_place: RedisPlace, redis: Redis) -> None:
    store = redis_place.store
    await saved(store)
    ledger = await ledger_saved(store, None, [b"first"])
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + (4 << 20))
    with pytest.raises(StoreUnavailable, match="is out of memory"):
        await ledger_saved(store, ledger, [bytes(1 << 20)] * 12, due_at=1.0)
    assert await store.ledger("session-1") == ledger
    redis.config_set("maxmemory", 0)
    assert sorted((await redis_place.pieces("session-1")).values()) == [b"first", b"one", b"two"]
    assert await store.due() == []
