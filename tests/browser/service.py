"""A service in a process of its own, which may be killed and comes back on the same port and store."""

import http.client
import os
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from tests.reaper import tied
from tests.servers import free_port

START_SECONDS = 60.0


class Service:
    """The service of a `with` block. It takes flags of `optim serve`."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.port = free_port()
        self._command = [
            sys.executable, "-m", "app.cli", "serve", "--log-level=warning", f"--port={self.port}",
            f"--store=lmdb:{folder}/store", *flags,
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and return once the service is ready."""
        surroundings = {name: value for name, value in os.environ.items() if not name.startswith("OPTIM_")}
        self._process = tied(self._command, env=surroundings, stdin=subprocess.DEVNULL)
        wait_for(f"{self.url}/readyz", self._process)

    def kill(self) -> None:
        """End the process as a crash does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.kill()


def wait_for(url: str, process: "subprocess.Popen[bytes]") -> None:
    """Wait until a new server answers."""
    parts = urlsplit(url)
    assert parts.hostname
    deadline = time.monotonic() + START_SECONDS
    while not _answers(parts.hostname, parts.port, parts.path):
        assert process.poll() is None, f"the server of {url} ended with status {process.poll()}"
        assert time.monotonic() < deadline, f"{url} did not answer in {START_SECONDS:.0f} s"
        time.sleep(0.02)


def _answers(host: str, port: int | None, path: str) -> bool:
    connection = http.client.HTTPConnection(host, port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
