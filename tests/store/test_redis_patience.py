"""The patient client: it waits for a Redis that is away, and for nothing else."""

import asyncio
import time

import pytest

from app.errors import StoreUnavailable
from app.store import redis_patience
from app.store.redis_client import Refused
from app.store.redis_patience import PatientClient, PatientCluster
from tests.redis_cluster import RedisCluster, command
from tests.servers import RedisServer


async def test_a_call_waits_until_redis_is_back(own_redis: RedisServer) -> None:
    client = PatientClient(own_redis.url, 10)
    client.open()
    await client.ask(("SET", "optim:a", 1))
    own_redis.kill()
    asking = asyncio.create_task(client.ask(("GET", "optim:a")))
    await asyncio.sleep(0.3)
    await asyncio.to_thread(own_redis.start)
    assert await asking == [b"1"]
    await client.close()


async def test_a_call_waits_until_a_cluster_is_back(redis_cluster: RedisCluster, cluster_url: str) -> None:
    client = PatientCluster(cluster_url, 0.2)
    client.open()
    await client.ask(("SET", "optim:a", 1))
    for server in redis_cluster.masters:
        command(server, "CLIENT", "PAUSE", 500, "ALL")
    assert await client.ask(("GET", "optim:a")) == [b"1"]
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
