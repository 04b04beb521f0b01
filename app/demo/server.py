"""A server for the demo and for tests: `optim serve` with an embedded store, in a temporary folder."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

START_SECONDS = 120.0
"""Time for the first start, which compiles the kernel, on a busy machine. A server that ends is noticed at once."""
STOP_SECONDS = 10.0


class ServerFailed(Exception):
    """The server did not start; the message holds its output."""


class Server:
    """A server process that runs inside of a `with` block. Its folder is removed at the end."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="optim-demo-")
        self._log = Path(self._folder.name) / "server.log"
        self._process: subprocess.Popen[bytes] | None = None
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._port: int = free.getsockname()[1]

    @property
    def url(self) -> str:
        """Return the address of the server."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start, always on the same port and store; return once the server is ready."""
        command = [sys.executable, "-m", "app.cli", "serve", "--log-level=warning"]
        command += [f"--port={self._port}", f"--store=lmdb:{self._folder.name}/store"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("OPTIM_")}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._ready():
            if (status := self._process.poll()) is not None:
                raise ServerFailed(f"the server ended with status {status}; {self._said()}")
            if time.monotonic() > deadline:
                raise ServerFailed(f"the server was not ready after {START_SECONDS:.0f} s; {self._said()}")
            time.sleep(0.02)

    def pause(self) -> None:
        """Freeze the process, with SIGSTOP."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after a pause."""
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End the process as a crash does, with `kill -9`."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """Stop the server as an operator does, and remove its folder."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _said(self) -> str:
        said = self._log.read_text()
        return f"it said:\n{said}" if said else "it said nothing"

    def _signal(self, signum: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(signum)

    def _ready(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=1)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()
