"""A server whose store is full or cannot write, for as long as a test wants.

Limits of the kernel and of the store do it, set while both run.
"""

import resource
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.durability.processes import ServerProcess, servers
from tests.servers import RedisServer

ROOM = 9 << 20
"""Bytes that still fit into a full store."""


class Full(ABC):
    """A server on a store that can be filled."""

    deleting_makes_room = False
    something_fits = True

    def __init__(self, server: ServerProcess) -> None:
        self.server = server

    @abstractmethod
    def fill(self) -> None:
        """Leave no more room than `ROOM`."""

    @abstractmethod
    def free(self) -> None:
        """Make room again, without a restart of anything."""

    def restart(self) -> None:
        """Kill server and store, and start them on their data."""
        self.server.kill()
        self.server.start()


class FullDisk(Full):
    """A full disk: the kernel lets no file of the server grow (EFBIG)."""

    def __init__(self, server: ServerProcess, file: Path) -> None:
        super().__init__(server)
        self._file = file

    def fill(self) -> None:
        limit_file_size(self.server.pid, self._file.stat().st_size + ROOM)

    def free(self) -> None:
        limit_file_size(self.server.pid, resource.RLIM_INFINITY)


class FailingDisk(FullDisk):
    """A failing disk: no byte can be written to any file."""

    something_fits = False

    def fill(self) -> None:
        limit_file_size(self.server.pid, 0)


class FullMap(Full):
    """A full LMDB map, whose size is a setting."""

    deleting_makes_room = True

    def fill(self) -> None:
        pass

    def free(self) -> None:
        pass


class FullMemory(Full):
    """A Redis at its `maxmemory`."""

    deleting_makes_room = True

    def __init__(self, server: ServerProcess, redis: RedisServer) -> None:
        super().__init__(server)
        self._redis = redis

    def fill(self) -> None:
        with self._redis.client() as client:
            client.config_set("maxmemory", client.info("memory")["used_memory"] + ROOM)

    def free(self) -> None:
        with self._redis.client() as client:
            client.config_set("maxmemory", 0)

    def restart(self) -> None:
        with self._redis.client() as client:
            client.config_set("appendfsync", "always")  # else the kill loses writes that wait for a sync
        self._redis.kill()
        self._redis.start()
        super().restart()


class FailingAppendOnlyFile(FullMemory):
    """A Redis that cannot write its append-only file, and so refuses writes."""

    deleting_makes_room = False
    something_fits = False

    def fill(self) -> None:
        limit_file_size(self._pid(), 0)

    def free(self) -> None:
        limit_file_size(self._pid(), resource.RLIM_INFINITY)

    def _pid(self) -> int:
        with self._redis.client() as client:
            return int(client.info("server")["process_id"])


def limit_file_size(pid: int, nbytes: int) -> None:
    """Limit the size of the files that a running process may write."""
    process = psutil.Process(pid)
    process.rlimit(psutil.RLIMIT_FSIZE, (nbytes, process.rlimit(psutil.RLIMIT_FSIZE)[1]))


KINDS: Mapping[str, type[Full]] = {
    "disk": FullDisk,
    "failing disk": FailingDisk,
    "map": FullMap,
    "memory": FullMemory,
    "failing append-only file": FailingAppendOnlyFile,
}
"""The kinds of full stores, by name."""


@contextmanager
def full_server(kind: type[Full], folder: Path) -> Iterator[Full]:
    """Start a server whose store can be filled; it has room at first."""
    if issubclass(kind, FullMemory):
        redis = RedisServer(folder, "--appendfsync", "everysec", "--maxmemory-policy", "noeviction").start()
        try:
            with servers([redis.url], folder) as (server,):
                yield kind(server, redis)
        finally:
            redis.kill()
        return
    options = [f"--lmdb-map-bytes={4 * ROOM}"] if kind is FullMap else []
    with servers([f"lmdb:{folder / 'store'}"], folder, options=options) as (server,):
        yield kind(server, folder / "store" / "data.mdb") if issubclass(kind, FullDisk) else kind(server)
