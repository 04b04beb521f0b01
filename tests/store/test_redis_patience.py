"""The patient client: it waits for a Redis that is away, and for nothing else."""

import asyncio
import time
from pathlib import Path

import pytest

from app.errors import StoreUnavailable
from app.store import redis_patience
from app.store.redis_client import Refused
from app.store.redis_patience import PatientClient, PatientCluster
from tests.redis_cluster import RedisCluster
from tests.servers import RedisServer


async def test_a_call_waits_until_redis_is_back(own_redis: RedisServer) -> None:
    await waits(PatientClient(own_redis.url, 10), own_redis)


async def test_a_call_waits_until_a_cluster_is_back(tmp_path: Path) -> None:
    cluster = RedisCluster(tmp_path, masters=1).start()
    try:
        await waits(PatientCluster(cluster.url, 10), cluster.masters[0])
    finally:
        cluster.kill()


async def waits(client: PatientClient | PatientCluster, server: RedisServer) -> None:
    """Assert that a call to a server that is killed and comes back is answered."""
    client.open()
    await client.ask(("SET", "optim:a", 1))
    server.kill()
    asking = asyncio.create_task(client.ask(("GET", "optim:a")))
    await asyncio.sleep(0.3)
    await asyncio.to_thread(server.start)
    assert await asking == [b"1"]
    await client.close()


async def test_a_refusal_is_raised_at_once(own_redis: RedisServer) -> None:
    client = PatientClient(own_redis.url, 10)
    client.open()
    began = time.monotonic()
    with pytest.raises(Refused):
        await client.ask(("NONSENSE",))
    assert time.monotonic() - began < redis_patience.WAITS[0]
    await client.close()


async def test_a_redis_that_stays_away_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_patience, "WAITS", (0.01, 0.01))
    client = PatientClient("redis://127.0.0.1:1/0", 10)
    client.open()
    with pytest.raises(StoreUnavailable, match="failed or cannot be reached"):
        await client.ask(("GET", "optim:a"))
    await client.close()
