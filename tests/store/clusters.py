"""A client of the tests' cluster, and keys that lie where a test wants them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from app.store.redis_cluster import Cluster
from app.store.redis_topology import slot_of

SECONDS = 5.0


@asynccontextmanager
async def opened(url: str, seconds: float = SECONDS) -> AsyncIterator[Cluster]:
    """Lend a client that has learned the topology."""
    cluster = Cluster(url, seconds)
    cluster.open()
    try:
        await cluster.ask(("GET", "x"))
        yield cluster
    finally:
        await cluster.close()


def slot(key: str) -> int:
    return slot_of(("GET", key))
