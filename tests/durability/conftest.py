"""Durable stores as in production, and servers on them. Redis has the options of docker-compose.yml."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.durability.processes import ServerProcess, servers
from tests.durability.wire import Wire
from tests.servers import RedisServer
from tests.stores import DURABLE, STORES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("durability")


@pytest.fixture(scope="module")
def redis(folder: Path) -> Iterator[RedisServer]:
    (folder / "redis").mkdir()
    server = RedisServer(folder / "redis", "--appendfsync", "always", "--maxmemory-policy", "noeviction").start()
    yield server
    server.kill()


@pytest.fixture(scope="module", params=DURABLE)
def store(request: pytest.FixtureRequest, folder: Path) -> str:
    """Return the URL of each durable store in turn."""
    return STORES[request.param](folder, lambda: str(request.getfixturevalue("redis").url))


@pytest.fixture(scope="module")
def server(store: str, folder: Path) -> Iterator[ServerProcess]:
    with servers([store], folder) as (server,):
        yield server


@pytest.fixture(scope="module")
def pair(store: str, folder: Path) -> Iterator[list[ServerProcess]]:
    """Start two server processes on one store."""
    with servers([store, store], folder) as pair:
        yield pair


@pytest.fixture
def wires(pair: list[ServerProcess]) -> Iterator[list[Wire]]:
    """Connect to both servers."""
    with Wire(pair[0].port) as first, Wire(pair[1].port) as second:
        yield [first, second]
