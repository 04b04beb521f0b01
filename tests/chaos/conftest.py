"""Two server processes on one store, which most checks of this folder need."""

from collections.abc import Iterator

import pytest

from tests.durability.processes import ServerProcess, servers
from tests.servers import RedisServer
from tests.stores import DURABLE


@pytest.fixture(scope="module", params=DURABLE)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[ServerProcess]]:
    """Start two servers on each durable store in turn; Redis has the options of docker-compose.yml."""
    folder = tmp_path_factory.mktemp("pair")
    if request.param == "lmdb":
        with servers([f"lmdb:{folder / 'store'}"] * 2, folder) as pair:
            yield pair
        return
    redis = RedisServer(folder, "--appendfsync", "always", "--maxmemory-policy", "noeviction").start()
    try:
        with servers([redis.url] * 2, folder) as pair:
            yield pair
    finally:
        redis.kill()
