"""Services under a small load, and a Prometheus that looks at them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.durability.processes import ServerProcess, servers
from tests.observability.load import under_load
from tests.observability.prometheus import Prometheus, prometheus
from tests.servers import RedisServer


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, ServerProcess]]:
    """Run two server processes on LMDB, and one on Redis, under load."""
    folder = tmp_path_factory.mktemp("services")
    redis = RedisServer(folder).start()
    try:
        with (
            servers([f"lmdb:{folder}/store"], folder, workers=2) as (several,),
            servers([redis.url], _made(folder / "one")) as (one,),
            under_load(several.url, one.url),
        ):
            yield {"two processes": several, "one process": one}
    finally:
        redis.kill()


@pytest.fixture(scope="session")
def watching(services: dict[str, ServerProcess], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Run a Prometheus that looks at both."""
    targets = [f"127.0.0.1:{service.port}" for service in services.values()]
    with prometheus(tmp_path_factory.mktemp("prometheus"), targets) as found:
        yield found


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder
