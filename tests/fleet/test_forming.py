"""The script that forms the cluster of the compose file: on real nodes, at first and again."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT
from tests.redis_cluster import command, until
from tests.servers import RedisServer

SCRIPT = ROOT / "deploy/redis/form-cluster.sh"
BUS = 10_000
"""From a node's port to that of the cluster's bus, by default."""


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[RedisServer]]:
    """Run six nodes that are no cluster yet."""
    started = [_node(tmp_path / f"{number}") for number in range(6)]
    try:
        yield [node.start() for node in started]
    finally:
        for node in started:
            node.kill()


def _node(folder: Path) -> RedisServer:
    folder.mkdir()
    while True:
        node = RedisServer(folder, "--cluster-enabled", "yes", "--cluster-node-timeout", "1500")
        if node.port + BUS < 1 << 16:
            return node


def form(nodes: list[RedisServer]) -> None:
    subprocess.run(["sh", SCRIPT, *(f"localhost:{node.port}" for node in nodes)], check=True, timeout=60)


def roles(node: RedisServer) -> list[str]:
    """Return the roles of all nodes that one knows."""
    lines = command(node, "CLUSTER", "NODES").decode().splitlines()
    return sorted("master" if "master" in line.split()[2] else "replica" for line in lines)


def test_a_cluster_forms_once_and_stays(nodes: list[RedisServer]) -> None:
    for _ in range(2):
        form(nodes)
        for node in nodes:  # a node hears of the others' roles a moment later
            until(lambda node=node: roles(node) == ["master"] * 3 + ["replica"] * 3)
            assert b"cluster_slots_ok:16384" in command(node, "CLUSTER", "INFO")
