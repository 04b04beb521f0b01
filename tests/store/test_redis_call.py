"""A call to a cluster: refusals that are mended, those that are not, and calls without an answer."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.exceptions import ResponseError

from app.errors import StoreUnavailable
from app.store import redis_call
from app.store.redis_call import is_refusal
from app.store.redis_client import NotSent, Refused
from app.store.redis_cluster import Cluster
from app.store.redis_scripts import Script
from app.store.redis_topology import Address, SlotRange, Topology
from tests.redis_cluster import Move, RedisCluster, command, has_slot
from tests.servers import RedisServer, free_port
from tests.store.clusters import opened, slot

COPY = Script("redis.call('SET', KEYS[2], redis.call('GET', KEYS[1])) return redis.call('GET', KEYS[2])")
UNDECLARED = Script("local b = redis.call('GET', '{s}b') redis.call('SET', KEYS[1], b) return b")


@pytest.fixture
async def cluster(cluster_url: str) -> AsyncIterator[Cluster]:
    async with opened(cluster_url) as cluster:
        yield cluster


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_call, "MENDED_SECONDS", 0.3)


@pytest.fixture
async def move(redis_cluster: RedisCluster, cluster: Cluster) -> AsyncIterator[Move]:
    """Lend the move of the slot of `s`, which has two keys. It ends with the test."""
    await cluster.ask(("SET", "{s}a", "1"), ("SET", "{s}b", "2"))
    move = Move(redis_cluster, slot("s"))
    yield move
    move.keys()
    move.end()


def master_of(cluster: RedisCluster, key: str) -> RedisServer:
    return next(master for master in cluster.masters if has_slot(master, slot(key)))


async def test_a_moved_slot_is_found(cluster: Cluster, move: Move) -> None:
    old = cluster.nodes.topology
    move.begin()
    move.keys()
    move.end()
    assert await cluster.ask(("GET", "{s}a"), ("GET", "{s}b")) == [b"1", b"2"]
    assert cluster.nodes.topology.address_of(slot("s")) != old.address_of(slot("s"))


async def test_keys_are_found_while_their_slot_moves(cluster: Cluster, move: Move) -> None:
    move.begin()
    move.keys(b"{s}a")
    commands = ("INCR", "{s}a"), ("GET", "{s}b"), ("GET", "{s}a"), ("SET", "{s}b", "2"), ("SET", "{s}c", "3")
    assert await cluster.ask(*commands) == [2, b"2", b"2", b"OK", b"OK"]
    move.keys()
    move.end()
    assert await cluster.ask(("GET", "{s}a"), ("GET", "{s}b"), ("GET", "{s}c")) == [b"2", b"2", b"3"]


@pytest.mark.parametrize(("script", "keys"), [(COPY, ["{s}a", "{s}b"]), (UNDECLARED, ["{s}a"])])
async def test_a_script_waits_until_all_its_keys_have_moved(
    cluster: Cluster, move: Move, script: Script, keys: list[str]
) -> None:
    move.begin()
    move.keys(b"{s}b")
    running = asyncio.create_task(cluster.run(script, keys, ()))
    await asyncio.sleep(0.1)
    assert not running.done()
    move.keys()
    move.end()
    assert await running == (b"1" if script is COPY else b"2")


@pytest.mark.usefixtures("impatient")
async def test_a_move_that_takes_too_long_is_refused(cluster: Cluster, move: Move) -> None:
    move.begin()
    move.keys(b"{s}b")
    with pytest.raises(Refused, match="moves a part of its keys to another server: try again"):
        await cluster.run(COPY, ["{s}a", "{s}b"], ())
    assert await cluster.ask(("GET", "{s}a")) == [b"1"]


@pytest.mark.usefixtures("impatient")
async def test_a_slot_without_a_server_is_refused_meanwhile(cluster: Cluster, redis_cluster: RedisCluster) -> None:
    master = master_of(redis_cluster, "t")
    command(master, "CLUSTER", "DELSLOTS", slot("t"))
    try:
        with pytest.raises(Refused, match="does not serve a part of its keys") as refusal:
            await cluster.ask(("SET", "t", "1"))
        assert refusal.value.retry_after == 1
    finally:
        command(master, "CLUSTER", "ADDSLOTS", slot("t"))
        await asyncio.to_thread(redis_cluster.settle)
    assert await cluster.ask(("SET", "t", "1")) == [b"OK"]


async def test_a_dead_address_is_left_for_a_new_one(cluster: Cluster) -> None:
    cluster.nodes.topology = Topology([SlotRange(0, 16383, Address("127.0.0.1", free_port()))])
    assert await cluster.ask(("SET", "x", "1"), ("SET", "y", "1")) == [b"OK", b"OK"]


@pytest.mark.usefixtures("impatient")
async def test_dead_servers_are_named_as_unreachable() -> None:
    cluster = Cluster(f"redis+cluster://127.0.0.1:{free_port()}", 5)
    cluster.open()
    with pytest.raises(NotSent, match="cannot be reached"):
        await cluster.ask(("GET", "x"))
    await cluster.close()


async def test_a_command_without_an_answer_is_not_sent_again(cluster_url: str, redis_cluster: RedisCluster) -> None:
    async with opened(cluster_url, 0.1) as cluster:
        await cluster.ask(("GET", "n"))
        command(master_of(redis_cluster, "n"), "CLIENT", "PAUSE", 300)
        with pytest.raises(StoreUnavailable, match="did not answer within") as failure:
            await cluster.ask(("INCR", "n"))
        assert not isinstance(failure.value, NotSent | Refused)
    async with opened(cluster_url) as cluster:
        assert await cluster.ask(("GET", "n")) in ([b"1"], [None])


async def test_an_unknown_outcome_is_told_before_a_refusal(cluster_url: str, redis_cluster: RedisCluster) -> None:
    async with opened(cluster_url, 0.1) as cluster:
        await cluster.ask(("GET", "n"))
        command(master_of(redis_cluster, "n"), "CLIENT", "PAUSE", 300)
        with pytest.raises(StoreUnavailable) as failure:
            await cluster.ask(("LPUSH", "x", "1"), ("GET", "x"), ("INCR", "n"))
        assert not isinstance(failure.value, Refused)


async def test_other_errors_are_refused_at_once(cluster: Cluster) -> None:
    with pytest.raises(Refused, match="WRONGTYPE"):
        await cluster.ask(("LPUSH", "x", "1"), ("GET", "x"))


@pytest.mark.parametrize("words", ["Script attempted to access a non local key", "Attempted to access a non local key"])
def test_a_script_without_its_key_is_tried_again(words: str) -> None:
    assert is_refusal(ResponseError(f"{words} in a cluster node script: on @user_script:1."))
    assert not is_refusal(ResponseError("WRONGTYPE Operation against a key"))
