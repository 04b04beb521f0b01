"""Python processes of the benchmarks, which end with the `with` that started them."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.reaper import tied

ROOT = Path(__file__).parents[2]
START_SECONDS = 60.0


@contextmanager
def python(*arguments: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """Run a Python process in the root of the repository; its output can be read."""
    with tied(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(process: subprocess.Popen[str], port: int) -> None:
    """Wait until a process listens on the port."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) == 0:
                return
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} does not listen on port {port}")
        time.sleep(0.01)
