"""The pool of connections to Redis: reuse, and the end of connections after a failure."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from app.errors import StoreUnavailable
from app.settings import Settings
from app.store import open_store, redis_pool
from app.store.redis import RedisStore
from app.store.redis_client import Client
from tests.chaos.fault_proxy import FaultProxy
from tests.servers import RedisServer
from tests.store.changes import saved

SECONDS = 1.0


@pytest.fixture
async def proxy(own_redis: RedisServer) -> AsyncIterator[FaultProxy]:
    async with FaultProxy(own_redis.port) as proxy:
        yield proxy


@pytest.fixture
async def client(proxy: FaultProxy) -> AsyncIterator[Client]:
    client = Client(proxy.redis_url, SECONDS)
    client.open()
    yield client
    await client.close()


async def burst(client: Client, count: int = 8) -> None:
    """Make calls at once, which leave so many idle connections."""
    await asyncio.gather(*(client.ask(("PING",)) for _ in range(count)))


def connected(server: RedisServer) -> int:
    """Return how many of the server's connections are ours."""
    with server.client() as admin:
        return sum(client["name"] == "optim-service" for client in admin.client_list())


async def until_connected(server: RedisServer, count: int) -> None:
    for _ in range(200):
        if connected(server) == count:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{connected(server)} connections, and not {count}")


async def test_a_connection_is_used_again(client: Client, own_redis: RedisServer) -> None:
    for _ in range(3):
        await client.ask(("PING",))
    await burst(client)
    await burst(client)
    assert connected(own_redis) == 8


async def test_connections_that_were_idle_too_long_are_closed_unused(
    client: Client, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await burst(client)
    monkeypatch.setattr(redis_pool, "IDLE_SECONDS", 0.2)
    for _ in range(4):
        await asyncio.sleep(0.1)
        await client.ask(("PING",))  # keeps one of them young
    await until_connected(own_redis, 1)
    await asyncio.sleep(0.3)
    await client.ask(("PING",))
    await until_connected(own_redis, 1)


async def test_one_timeout_closes_all_forgotten_connections(client: Client, proxy: FaultProxy) -> None:
    await burst(client)
    proxy.forget()
    with pytest.raises(StoreUnavailable, match="did not answer within OPTIM_STORE_TIMEOUT_SECONDS"):
        await client.ask(("PING",))
    await burst(client)


async def test_one_reset_closes_all_connections_as_old(client: Client, proxy: FaultProxy) -> None:
    await burst(client)
    proxy.forget(reset=True)
    with pytest.raises(StoreUnavailable, match="failed or cannot be reached"):
        await client.ask(("PING",))
    await burst(client)


async def test_a_forgotten_upload_connection_closes_all(client: Client, proxy: FaultProxy) -> None:
    await burst(client)
    proxy.forget()
    upload = client.upload()
    upload.put(("SET", "optim:x", b"1"))
    with pytest.raises(StoreUnavailable, match="did not answer within"):
        await upload.finish(("PING",))
    await burst(client)


async def test_a_connection_in_use_is_closed_after_its_call(client: Client, own_redis: RedisServer) -> None:
    async with client.pool.connection() as used:
        await client.pool.renew(client.pool.generation)
        await used.send_packed_command(used.pack_command("PING"))
        assert await used.read_response() == b"PONG"
    await until_connected(own_redis, 0)


async def test_a_cancelled_call_closes_only_its_connection(client: Client, own_redis: RedisServer) -> None:
    await burst(client)
    asking = asyncio.create_task(client.ask(("BLPOP", "optim:none", 0)))
    await asyncio.sleep(0.05)
    asking.cancel()
    await asyncio.wait([asking])
    await burst(client, 7)
    assert client.pool.generation == 0
    await until_connected(own_redis, 7)


async def test_the_system_probes_silent_connections(client: Client) -> None:
    async with client.pool.connection() as connection:
        assert connection._writer is not None
        link = connection._writer.get_extra_info("socket")
        assert link.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        for name, value in (("TCP_KEEPIDLE", 15), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3), ("TCP_USER_TIMEOUT", 1000)):
            if hasattr(socket, name):
                assert link.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == value


# Servers that cannot be written


def a_replica(server: RedisServer) -> None:
    with server.client() as admin:
        admin.replicaof("127.0.0.1", 1)


def a_replica_that_answers_nothing_old(server: RedisServer) -> None:
    with server.client() as admin:
        admin.config_set("replica-serve-stale-data", "no")
        admin.replicaof("127.0.0.1", 1)


def a_primary_without_replicas(server: RedisServer) -> None:
    with server.client() as admin:
        admin.config_set("min-replicas-to-write", 1)


def a_server_that_cannot_snapshot(server: RedisServer) -> None:
    with server.client() as admin:
        (server.folder / "dump.rdb").mkdir()
        admin.config_set("save", "3600 1000000")
        admin.bgsave()
        while admin.info("persistence")["rdb_last_bgsave_status"] == "ok":
            time.sleep(0.01)


CANNOT_BE_WRITTEN = {
    a_replica: "is a read-only replica: unless a failover is under way, name the primary",
    a_replica_that_answers_nothing_old: "is a replica without its primary|is a read-only replica",
    a_primary_without_replicas: "has fewer replicas than its min-replicas-to-write",
    a_server_that_cannot_snapshot: "cannot write to its disk",
}


@pytest.mark.parametrize(("become", "words"), CANNOT_BE_WRITTEN.items(), ids=lambda it: getattr(it, "__name__", ""))
async def test_a_read_only_server_is_left_for_its_successor(
    own_redis: RedisServer, redis_server: RedisServer, proxy: FaultProxy, become: Any, words: str
) -> None:
    with redis_server.client() as admin:
        admin.flushall()
    async with open_store(Settings(store=proxy.redis_url)) as store:
        assert isinstance(store, RedisStore)
        await asyncio.gather(*(saved(store, session_id=f"{i}") for i in range(8)))
        become(own_redis)
        for call in (store.ping, lambda: saved(store)):
            with pytest.raises(StoreUnavailable, match=words) as refusal:
                await call()
            assert refusal.value.retry_after == 1
        proxy.move(redis_server.port)
        await asyncio.gather(*(saved(store, session_id=f"{i}") for i in range(8)))
        await store.ping()


async def test_used_and_idle_connections_are_counted(client: Client) -> None:
    pool = client.pool
    async with pool.connection():
        assert (pool.lent, pool.idle) == (1, 0)
    assert (pool.lent, pool.idle) == (0, 1)
