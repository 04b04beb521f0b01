"""Three replicas of the service on one Redis, and each balancer before them in turn."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.durability.processes import ServerProcess, servers
from tests.fleet.balancer import KINDS, Balancer, balancer
from tests.servers import RedisServer

REPLICAS = 3
DRAIN = "--drain-seconds=3"
"""Longer than HAProxy takes to ask twice."""


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Return the name of each balancer in turn."""
    return str(request.param)


@pytest.fixture
def replicas(own_redis: RedisServer, tmp_path: Path) -> Iterator[list[ServerProcess]]:
    with servers([own_redis.url] * REPLICAS, tmp_path, options=[DRAIN]) as started:
        yield started


@pytest.fixture
def front(kind: str, replicas: list[ServerProcess], tmp_path: Path) -> Iterator[Balancer]:
    """Run the balancer before the replicas."""
    with balancer(kind, tmp_path, [replica.port for replica in replicas]) as started:
        yield started
