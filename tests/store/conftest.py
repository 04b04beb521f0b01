"""The fixtures of the stores' tests: each store open and empty, and each alone."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from redis import Redis

from app.store import lmdb_file
from app.store.base import Store
from tests import redis_user
from tests.redis_cluster import RedisCluster, command
from tests.servers import RedisServer
from tests.store.places import DurablePlace, LmdbPlace, Place, RedisPlace, place_at
from tests.stores import CLUSTER, DURABLE, STORES


@pytest.fixture
def redis_url(redis_url: str) -> str:
    """Return the URL for the least user, who may do whatever the store does."""
    return redis_user.made(redis_url)


@pytest.fixture(scope="session")
def least_cluster_user(redis_cluster: RedisCluster) -> str:
    """Create the least user in the cluster; return its name and password."""
    for master in redis_cluster.masters:
        redis_user.made(master.url)
        command(master, "ACL", "SETUSER", redis_user.NAME, *redis_user.IN_A_CLUSTER)
    return f"{redis_user.NAME}:{redis_user.PASSWORD}"


@pytest.fixture
def least_cluster_url(cluster_url: str, least_cluster_user: str) -> str:
    """Return the URL of an empty cluster for the least user."""
    return cluster_url.replace("://", f"://{least_cluster_user}@")


@pytest.fixture(params=[*STORES, CLUSTER])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return the URL of each store in turn, empty."""
    if request.param == CLUSTER:
        return str(request.getfixturevalue("least_cluster_url"))
    return STORES[request.param](tmp_path, lambda: str(request.getfixturevalue("redis_url")))


@pytest.fixture
async def place(store_url: str) -> AsyncIterator[Place]:
    """Lend each store in turn, open and empty, with a way to look behind it. It keeps five rows of history."""
    place = place_at(store_url, history_limit=5, store_timeout_seconds=10)
    async with place.store:
        yield place
    if isinstance(place, RedisPlace):
        place.client.close()


@pytest.fixture(params=[*DURABLE, CLUSTER])
async def durable_place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[DurablePlace]:
    """Lend each store in turn whose ledgers are bytes, open and empty."""
    if request.param == CLUSTER:
        url = str(request.getfixturevalue("least_cluster_url"))
    else:
        url = STORES[request.param](tmp_path, lambda: str(request.getfixturevalue("redis_url")))
    place = place_at(url)
    assert isinstance(place, DurablePlace)
    async with place.store:
        yield place
    if isinstance(place, RedisPlace):
        place.client.close()


@pytest.fixture
def store(place: Place) -> Store:
    store: Store = place.store
    return store


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the path of a folder that does not exist yet."""
    return tmp_path / "new" / "store"


@pytest.fixture
async def lmdb_place(folder: Path) -> AsyncIterator[LmdbPlace]:
    """Lend an LMDB store, open and empty."""
    place = place_at(f"lmdb:{folder}")
    assert isinstance(place, LmdbPlace)
    async with place.store:
        yield place


@pytest.fixture
def small_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every save but the smallest one of many transactions."""
    monkeypatch.setattr(lmdb_file, "TRANSACTION_BYTES", 4)


@pytest.fixture
async def redis_place(own_redis: RedisServer) -> AsyncIterator[RedisPlace]:
    """Lend a store on a Redis of the test's own, open and empty."""
    place = place_at(own_redis.url, store_timeout_seconds=5)
    assert isinstance(place, RedisPlace)
    async with place.store:
        yield place
    place.client.close()


@pytest.fixture
def redis(redis_place: RedisPlace) -> Redis:
    """Return a client of that Redis, with all rights."""
    return redis_place.client
