"""A server whose store has no more room, or cannot write, for as long as a test wants: by limits of the kernel and of
the store itself, set while both run."""

import resource
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tests.durability.processes import ServerProcess, servers
from tests.servers import RedisServer

ROOM = 9 << 20
"""Bytes that still fit when there is said to be no more room."""


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
        """As it was before. Nothing of the service is started again."""

    def restart(self) -> None:
        """Kill all of it, and start it on what it left."""
        self.server.kill()
        self.server.start()


class FullDisk(Full):
    """No file of the server's may grow: the kernel refuses what lies behind the limit as a full disk does (EFBIG)."""

    def __init__(self, server: ServerProcess, file: Path) -> None:
        super().__init__(server)
        self._file = file

    def fill(self) -> None:
        limit_file_size(self.server.pid, self._file.stat().st_size + ROOM)

    def free(self) -> None:
        limit_file_size(self.server.pid, resource.RLIM_INFINITY)


class FailingDisk(FullDisk):
    """No byte can be written to any file."""

    something_fits = False

    def fill(self) -> None:
        limit_file_size(self.server.pid, 0)


class FullMap(Full):
    """LMDB's map, whose size is a setting."""

    deleting_makes_room = True

    def fill(self) -> None:
        pass

    def free(self) -> None:
        pass


class FullMemory(Full):
    """Redis at its maxmemory."""

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
            client.config_set("appendfsync", "always")  # or a write that waits for a sync would be lost with the kill
        self._redis.kill()
        self._redis.start()
        super().restart()


class FailingAppendOnlyFile(FullMemory):
    """Redis cannot write its append-only file: it refuses writes until it can."""

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
    """From now on; a process may be told another time."""
    process = psutil.Process(pid)
    process.rlimit(psutil.RLIMIT_FSIZE, (nbytes, process.rlimit(psutil.RLIMIT_FSIZE)[1]))


KINDS: Mapping[str, type[Full]] = {
    "disk": FullDisk,
    "failing disk": FailingDisk,
    "map": FullMap,
    "memory": FullMemory,
    "failing append-only file": FailingAppendOnlyFile,
}
"""By what is full."""


@contextmanager
def full_server(kind: type[Any], folder: Path) -> Iterator[Full]:
    """A server whose store is not full yet."""
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
        yield kind(server) if kind is FullMap else kind(server, folder / "store" / "data.mdb")
