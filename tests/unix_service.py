"""A service on a Unix socket alone, in a process of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from optim_client import Client

from tests.reaper import tied

START_SECONDS = 60.0


@contextmanager
def unix_process(folder: Path, *flags: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start the service on a socket in the folder; yield its process once it is ready."""
    command = [sys.executable, "-m", "app.cli", "serve", "--host=none", f"--unix-socket={folder}/socket"]
    command += ["--log-level=warning", *flags]
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("OPTIM_")}
    with tied(command, env=surroundings | {"OPTIM_STORE": "memory:"}, stdin=subprocess.DEVNULL) as process:
        with Client(f"unix://{folder}/socket") as client:
            deadline = time.monotonic() + START_SECONDS
            while not client.ready():
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


@contextmanager
def unix_service(folder: Path, *flags: str) -> Iterator[str]:
    """Start the service on a socket in the folder; yield its address."""
    with unix_process(folder, *flags):
        yield f"unix://{folder}/socket"
