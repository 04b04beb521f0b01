"""The servers of a cluster: who tells the topology, and who is forgotten."""

from collections.abc import AsyncIterator

import pytest

from app.errors import StoreUnavailable
from app.store.base import IncompatibleStore
from app.store.redis_nodes import Nodes
from app.store.redis_topology import Address, SlotRange, Topology
from tests.redis_cluster import RedisCluster
from tests.servers import RedisServer, free_port


@pytest.fixture
async def nodes(cluster_url: str) -> AsyncIterator[Nodes]:
    """Lend the servers, of which the URL names a dead one too."""
    nodes = Nodes(f"{cluster_url},127.0.0.1:{free_port()}", 5)
    nodes.open()
    yield nodes
    await nodes.close()


async def test_any_living_server_tells_the_topology(nodes: Nodes, redis_cluster: RedisCluster) -> None:
    for _ in range(8):
        nodes.forget(nodes.topology)
        await nodes.renew(nodes.topology)
        assert nodes.topology.addresses == {("127.0.0.1", master.port) for master in redis_cluster.masters}
    assert len(nodes.masters) == 3


async def test_a_newer_topology_is_not_asked_for_again(nodes: Nodes) -> None:
    old = nodes.topology
    await nodes.renew(old)
    new = nodes.topology
    await nodes.renew(old)
    nodes.forget(old)
    assert nodes.topology is new


async def test_a_server_that_left_is_forgotten(nodes: Nodes) -> None:
    gone = Address("127.0.0.1", free_port())
    nodes.topology = Topology([SlotRange(0, 16383, gone)])
    left = nodes.client(gone)
    assert nodes.client(gone) is left
    await nodes.renew(nodes.topology)
    assert nodes.client(gone) is not left


async def test_without_a_living_server_there_is_no_topology() -> None:
    nodes = Nodes(f"redis+cluster://127.0.0.1:{free_port()},127.0.0.1:{free_port()}", 5)
    nodes.open()
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await nodes.renew(nodes.topology)
    await nodes.close()


async def test_a_plain_redis_is_refused_by_name(redis_server: RedisServer) -> None:
    nodes = Nodes(redis_server.url.replace("redis:", "redis+cluster:"), 5)
    nodes.open()
    with pytest.raises(IncompatibleStore, match="is no cluster: write redis:// in OPTIM_STORE"):
        await nodes.renew(nodes.topology)
    await nodes.close()


def test_the_private_key_of_the_client_is_a_secret_file(redis_cluster: RedisCluster) -> None:
    assert Nodes(redis_cluster.url, 5).secret_files == []
