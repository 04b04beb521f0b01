"""Measurements of a running service from outside: its memory and descriptors, and the size of its store."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import lmdb
import psutil

from tests.servers import RedisServer

TABLES = (b"heads", b"index", b"pieces", b"rows", b"staging", b"keys", b"claims")
FOR_EVER = {b"optim:format", b"optim:ready", b"optim:tenants"}
"""The keys in Redis of a service without sessions."""


class Footprint(NamedTuple):
    memory: int
    descriptors: int
    entries: int
    """The number of keys in the store."""
    store_bytes: int


Look = Callable[[], tuple[int, int]]
"""A function that returns the number of entries and the bytes of a store."""


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
    """Count Redis's keys and memory. Its append-only file is not counted, because it grows until it is rewritten."""

    def look() -> tuple[int, int]:
        with server.client() as client:
            forever = sum(map(client.exists, FOR_EVER))
            return client.dbsize() - forever, client.info("memory")["used_memory"]

    return look


def thirds(samples: Sequence[Footprint]) -> tuple[Footprint, Footprint]:
    """Return the medians of the middle third and of the last third."""
    third = len(samples) // 3
    middle, last = samples[third : 2 * third], samples[2 * third :]
    return _median(middle), _median(last)


def _median(samples: Sequence[Footprint]) -> Footprint:
    return Footprint(*(int(statistics.median(values)) for values in zip(*samples, strict=True)))
