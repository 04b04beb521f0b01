"""Real clusters of Redis for tests."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tests.servers import RedisServer, free_port

SLOTS = 16384
NODE_TIMEOUT_MS = 1500


class RedisCluster:
    """A cluster of masters on 127.0.0.1, each with so many replicas, formed by raw commands."""

    def __init__(self, folder: Path, masters: int = 3, replicas: int = 0) -> None:
        self.masters = [self._server(folder / f"master-{i}") for i in range(masters)]
        self.replicas = [self._server(folder / f"replica-{i}") for i in range(masters * replicas)]

    @staticmethod
    def _server(folder: Path) -> RedisServer:
        folder.mkdir()
        options = ["--cluster-enabled", "yes", "--cluster-port", str(free_port())]
        options += ["--cluster-node-timeout", str(NODE_TIMEOUT_MS), "--repl-diskless-sync-delay", "0"]
        return RedisServer(folder, *options)

    @property
    def servers(self) -> list[RedisServer]:
        return [*self.masters, *self.replicas]

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(f'127.0.0.1:{server.port}' for server in self.masters)}"

    def start(self) -> Self:
        for server in self.servers:
            server.launch()
        for server in self.servers:
            server.wait()
        for i, server in enumerate(self.masters):
            first, last = (SLOTS * at // len(self.masters) for at in (i, i + 1))
            command(server, "CLUSTER", "ADDSLOTSRANGE", first, last - 1)
            command(server, "CLUSTER", "SET-CONFIG-EPOCH", i + 1)
        for server in self.servers[1:]:
            command(server, "CLUSTER", "MEET", "127.0.0.1", self.masters[0].port, bus_port(self.masters[0]))
        until(
            lambda: all(
                command(server, "CLUSTER", "NODES").count(b"\n") == len(self.servers) for server in self.servers
            )
        )
        for i, replica in enumerate(self.replicas):
            command(replica, "CLUSTER", "REPLICATE", command(self.masters[i % len(self.masters)], "CLUSTER", "MYID"))
        self.settle()
        return self

    def settle(self) -> None:
        """Wait until all servers serve all slots, and replicas follow."""
        until(lambda: all(b"cluster_state:ok" in command(server, "CLUSTER", "INFO") for server in self.servers))
        until(
            lambda: all(b"master_link_status:up" in command(server, "INFO", "replication") for server in self.replicas)
        )

    def regroup(self) -> None:
        """Wait until a failover is over and every server is back; sort them by the roles that they have now."""
        until(lambda: sum(map(is_master, self.servers)) == len(self.masters))
        servers = self.servers
        self.masters = [server for server in servers if is_master(server)]
        self.replicas = [server for server in servers if server not in self.masters]
        self.settle()

    def kill(self) -> None:
        for server in self.servers:
            server.kill()

    def empty(self) -> None:
        for server in self.masters:
            command(server, "FLUSHALL")


def command(server: RedisServer, *words: Any) -> Any:
    """Return a server's answer to a command, as it comes."""
    with server.client() as client:
        connection = client.connection_pool.get_connection()
        connection.send_command(*words)
        answer = connection.read_response()
        connection.disconnect()
    return answer


def is_master(server: RedisServer) -> bool:
    return b"role:master" in command(server, "INFO", "replication")


def bus_port(server: RedisServer) -> int:
    return int(server.options[server.options.index("--cluster-port") + 1])


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError("the cluster does not form")
        time.sleep(0.02)


class Move:
    """A slot that moves from the master that has it to another, step by step."""

    def __init__(self, cluster: RedisCluster, slot: int) -> None:
        self._slot = slot
        self._all = cluster.masters
        self._source = next(server for server in cluster.masters if has_slot(server, slot))
        self._target = next(server for server in cluster.masters if server is not self._source)

    def begin(self) -> None:
        command(self._target, "CLUSTER", "SETSLOT", self._slot, "IMPORTING", _id_of(self._source))
        command(self._source, "CLUSTER", "SETSLOT", self._slot, "MIGRATING", _id_of(self._target))

    def keys(self, *keys: bytes) -> None:
        """Move these keys, or all."""
        for key in keys or command(self._source, "CLUSTER", "GETKEYSINSLOT", self._slot, 1000):
            command(self._source, "MIGRATE", "127.0.0.1", self._target.port, key, 0, 5000)

    def end(self) -> None:
        for server in (self._target, self._source, *self._all):
            command(server, "CLUSTER", "SETSLOT", self._slot, "NODE", _id_of(self._target))

    def whole(self) -> None:
        self.begin()
        self.keys()
        self.end()


def has_slot(server: RedisServer, slot: int) -> bool:
    """Return whether a server has a slot, by its own word."""
    own = _id_of(server)
    ranges = command(server, "CLUSTER", "SLOTS")
    return any(first <= slot <= last and master[2] == own for first, last, master, *_ in ranges)


def _id_of(server: RedisServer) -> bytes:
    return bytes(command(server, "CLUSTER", "MYID"))
