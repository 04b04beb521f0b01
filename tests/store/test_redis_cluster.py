"""The client of a cluster: commands of many slots, scripts, and uploads."""

from collections.abc import AsyncIterator

import pytest

from app.store.redis_client import Refused
from app.store.redis_cluster import Cluster
from app.store.redis_scripts import Script
from tests.redis_cluster import Move, RedisCluster
from tests.store.clusters import opened, slot

READ = Script("return {redis.call('GET', KEYS[1]), ARGV[1]}")
NAMES = [f"{i}" for i in range(40)]


@pytest.fixture
async def cluster(cluster_url: str) -> AsyncIterator[Cluster]:
    async with opened(cluster_url) as cluster:
        yield cluster


async def test_answers_have_the_order_of_their_commands(cluster: Cluster) -> None:
    assert len({slot(name) for name in NAMES}) > 30
    await cluster.ask(*(("SET", name, name) for name in NAMES))
    assert await cluster.ask(*(("GET", name) for name in NAMES)) == [name.encode() for name in NAMES]


async def test_no_commands_have_no_answers(cluster: Cluster) -> None:
    assert await cluster.ask() == []


async def test_a_script_runs_after_what_is_before_it(cluster: Cluster) -> None:
    before = [("SET", name, "other") for name in NAMES]
    for _ in range(2):  # the second time by its name
        answer = await cluster.run(READ, ["s"], ("x",), [("SET", "s", "1"), *before], [("INCR", "s"), ("INCR", "t")])
        assert answer == [b"1", b"x"]
        assert await cluster.ask(("GET", "s")) == [b"2"]
    assert await cluster.ask(("GET", "t")) == [b"2"]


async def test_a_refusal_before_a_script_prevents_it(cluster: Cluster) -> None:
    await cluster.ask(("LPUSH", "list", "1"))
    with pytest.raises(Refused, match="WRONGTYPE"):
        await cluster.run(Script("return redis.call('SET', KEYS[1], '1')"), ["s"], (), [("INCR", "list")])
    assert await cluster.ask(("GET", "s")) == [None]


async def test_an_upload_reaches_all_servers_before_its_script(cluster: Cluster) -> None:
    upload = cluster.upload()
    for name in NAMES:
        upload.put(("SET", name, memoryview(name.encode() * 30_000)))
    assert await cluster.run(READ, ["7"], ("x",), [("SET", "s", "1")], upload=upload) == [b"7" * 30_000, b"x"]
    assert await cluster.ask(*(("STRLEN", name) for name in NAMES)) == [len(name) * 30_000 for name in NAMES]


async def test_an_upload_to_a_slot_that_moves_arrives(cluster: Cluster, redis_cluster: RedisCluster) -> None:
    await cluster.ask(("SET", "{s}0", "x"))
    upload = cluster.upload()
    upload.put(("SET", "{s}1", memoryview(b"1")))
    Move(redis_cluster, slot("s")).whole()
    upload.put(("SET", "{s}2", memoryview(b"2")))
    assert await upload.finish(("GET", "{s}0"), ("GET", "{s}1"), ("GET", "{s}2")) == [b"x", b"1", b"2"]


async def test_an_upload_before_the_topology_is_known_arrives(cluster: Cluster) -> None:
    cluster.nodes.forget(cluster.nodes.topology)
    upload = cluster.upload()
    upload.put(("SET", "{s}1", b"1"))
    assert await upload.finish(("GET", "{s}1")) == [b"1"]


async def test_a_refused_command_of_an_upload_refuses_it(cluster: Cluster) -> None:
    await cluster.ask(("LPUSH", "list", "1"))
    upload = cluster.upload()
    upload.put(("INCR", "list"))
    with pytest.raises(Refused, match="WRONGTYPE"):
        await upload.finish(("SET", "s", "1"))
    assert await cluster.ask(("GET", "s")) == [None]
