"""The store on a cluster whose slots move, and whose masters are killed, while sessions are saved."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import Settings
from app.store import open_store
from app.store.redis_names import head_key, tenant_key
from tests.amounts import times
from tests.chaos.trial import Trial
from tests.redis_cluster import NODE_TIMEOUT_MS, Move, RedisCluster, has_slot
from tests.store.clusters import slot
from tests.store.savers import Savers

SESSIONS = 6


@pytest.mark.requirement("R20", "R2")
async def test_no_save_is_lost_or_doubled_while_slots_move(
    trial: Trial, cluster_url: str, redis_cluster: RedisCluster
) -> None:
    keys = [*(head_key(f"session-{i}") for i in range(3)), tenant_key("tenant-1"), "optim:tenants"]
    async with open_store(Settings(store=cluster_url)) as store:
        savers = Savers(store, SESSIONS)
        async with savers:
            await savers.until_saved()
            for _ in range(trial.times(quick=1, whole=40)):
                for key in keys:
                    await asyncio.to_thread(Move(redis_cluster, slot(key)).whole)
                    trial.tried["slots moved"] += 1
                await savers.until_saved()
        await savers.check()
        assert savers.failures == []
        trial.tried["acknowledged saves"] += sum(savers.acknowledged.values())


@pytest.fixture
def replicated(tmp_path: Path) -> Iterator[RedisCluster]:
    """Start a cluster whose masters have a replica each."""
    cluster = RedisCluster(tmp_path, replicas=1).start()
    yield cluster
    cluster.kill()


@pytest.mark.campaign
@pytest.mark.long
async def test_a_killed_master_is_followed_by_its_replica(replicated: RedisCluster) -> None:
    master = next(server for server in replicated.masters if has_slot(server, slot(head_key("session-0"))))
    async with open_store(Settings(store=replicated.url)) as store:
        savers = Savers(store, SESSIONS)
        async with savers:
            await savers.until_saved()
            master.kill()
            await savers.until_saved(within=NODE_TIMEOUT_MS / 1000 + 5)
        heads = [await store.load(name) for name in savers.acknowledged]
        assert all(heads)
        assert {failure.status for failure in savers.failures} <= {503}


@pytest.mark.campaign
@pytest.mark.long
async def test_a_master_that_comes_back_has_lost_nothing(tmp_path: Path) -> None:
    cluster = RedisCluster(tmp_path).start()
    try:
        async with open_store(Settings(store=cluster.url)) as store:
            savers = Savers(store, SESSIONS)
            async with savers:
                for i in range(times(quick=1, whole=20)):
                    await savers.until_saved()
                    cluster.masters[i % 3].kill()
                    await asyncio.to_thread(cluster.masters[i % 3].start)
                await savers.until_saved()
            await savers.check()
    finally:
        cluster.kill()
