"""Fixtures for backups: a store to back up and an empty one to restore into, of each kind in turn."""

from pathlib import Path

import pytest

from tests.servers import RedisServer
from tests.stores import DURABLE


@pytest.fixture(params=DURABLE)
def source_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty store that a test fills and backs up."""
    return f"lmdb:{tmp_path / 'source'}" if request.param == "lmdb" else str(request.getfixturevalue("redis_url"))


@pytest.fixture(params=DURABLE)
def target_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of an empty store that is never the source."""
    if request.param == "lmdb":
        return f"lmdb:{tmp_path / 'target'}"
    server: RedisServer = request.getfixturevalue("own_redis")
    return server.url


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the path of a folder that does not exist yet."""
    return tmp_path / "backup"
