from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.peers.service import Service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    """Yield a server of this service, ready."""
    server = Service("memory:", tmp_path / "log", threads=1)
    server.launch()
    server.wait_until_ready()
    yield server
    server.kill()
