"""What a service takes of a machine, and its store of the disk, looked at from outside while it runs."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import lmdb
import psutil

from tests.servers import RedisServer

TABLES = (b"heads", b"index", b"pieces", b"rows", b"staging", b"keys", b"claims")
FOR_EVER = {b"optim:format", b"optim:ready", b"optim:tenants"}
"""What Redis has of a service that has no session."""


class Footprint(NamedTuple):
    memory: int
    descriptors: int
    entries: int
    """What the store has, by keys."""
    store_bytes: int


Look = Callable[[], tuple[int, int]]
"""The store's entries and bytes."""


def looked(pid: int, look: Look) -> Footprint:
    process = psutil.Process(pid)
    return Footprint(process.memory_info().rss, process.num_fds(), *look())


def lmdb_look(folder: Path) -> Look:
    def look() -> tuple[int, int]:
        with lmdb.open(str(folder), readonly=True, max_dbs=len(TABLES), map_size=1 << 40) as environment:
            databases = [environment.open_db(name, create=False) for name in TABLES]
            with environment.begin() as transaction:
                entries = sum(transaction.stat(database)["entries"] for database in databases)
        return entries, (folder / "data.mdb").stat().st_blocks * 512

    return look


def redis_look(server: RedisServer) -> Look:
    """Its keys, and the memory of its data; its append-only file grows until it is written anew."""

    def look() -> tuple[int, int]:
        with server.client() as client:
            forever = sum(map(client.exists, FOR_EVER))
            return client.dbsize() - forever, client.info("memory")["used_memory"]

    return look


def thirds(samples: Sequence[Footprint]) -> tuple[Footprint, Footprint]:
    """The medians of the middle third and of the last."""
    third = len(samples) // 3
    middle, last = samples[third : 2 * third], samples[2 * third :]
    return _median(middle), _median(last)


def _median(samples: Sequence[Footprint]) -> Footprint:
    return Footprint(*(int(statistics.median(values)) for values in zip(*samples, strict=True)))
