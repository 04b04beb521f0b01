"""Replicas that must have a save before it is acknowledged, and what happens without them."""

from pathlib import Path

import pytest

from app.errors import StoreUnavailable
from app.settings import Settings
from app.store import open_store
from app.store.base import Store
from app.store.redis_replicas import Replicas
from tests.redis_cluster import RedisCluster, command
from tests.servers import RedisServer, Replica
from tests.store.changes import change_of, row, saved, state_of
from tests.store.ledgers import ledger_saved


def opened(url: str, replicas: int = 1) -> Store:
    return open_store(Settings(store=url, redis_replicas=replicas, store_timeout_seconds=2))


def test_no_replicas_are_not_waited_for() -> None:
    assert Replicas(0, 30).wait == []
    Replicas(0, 30).check([0])
    assert Replicas(2, 30).wait == [("WAIT", 2, 1000)]
    assert Replicas(2, 0.5).wait == [("WAIT", 2, 250)]


async def test_a_save_with_its_replica_is_acknowledged(own_redis: RedisServer, replica: Replica) -> None:
    async with opened(own_redis.url) as store:
        head = await saved(store, None, [b"%d" % i for i in range(40)], row=row(1))
        await ledger_saved(store)
        assert "1 replicas have each answered step" in await store.durability()
        own_redis.kill()
    command(replica, "REPLICAOF", "NO", "ONE")
    async with opened(replica.url, 0) as store:
        assert await state_of(store, head) == b"".join(b"%d" % i for i in range(40))
        assert await store.ledger("session-1")
        assert "replicas" not in await store.durability()


@pytest.mark.long
async def test_a_save_without_its_replica_is_unknown(own_redis: RedisServer, replica: Replica) -> None:
    async with opened(own_redis.url) as store:
        head = await saved(store)
        replica.kill()
        change = change_of(head, [b"one", b"new"])
        with pytest.raises(StoreUnavailable, match="only 0 of 1 replicas") as failure:
            await store.save(change)
        assert failure.value.retry_after == 1
        assert await store.load("session-1") == change.head
        for call in (lambda: store.confirm("session-1"), lambda: store.save(change), lambda: store.delete("session-1")):
            with pytest.raises(StoreUnavailable, match="only 0 of 1 replicas"):
                await call()


@pytest.mark.long
async def test_a_returned_replica_confirms_what_was_unknown(own_redis: RedisServer, replica: Replica) -> None:
    async with opened(own_redis.url) as store:
        replica.kill()
        with pytest.raises(StoreUnavailable):
            await saved(store)
        replica.start()
        replica.follow()
        await store.confirm("session-1")
        assert await saved(store, await store.load("session-1"))


@pytest.mark.long
async def test_a_cluster_waits_on_the_server_of_the_session(tmp_path: Path) -> None:
    cluster = RedisCluster(tmp_path, replicas=1).start()
    try:
        async with opened(cluster.url) as store:
            head = await saved(store, None, [b"%d" % i for i in range(40)])
            await store.confirm("session-1")
            for replica in cluster.replicas:
                replica.kill()
            with pytest.raises(StoreUnavailable, match="only 0 of 1 replicas"):
                await saved(store, head)
            with pytest.raises(StoreUnavailable, match="only 0 of 1 replicas"):
                await store.confirm("session-1")
    finally:
        cluster.kill()
