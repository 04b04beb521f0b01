"""A step through the whole service (client, HTTP, engine, store) against the same step by the engine in process."""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from optim_client import Client, OptimError

from benchmarks.engine import Engine
from benchmarks.timing import Comparison, compare


def comparisons() -> list[Comparison]:
    found = []
    for store in ("memory", "lmdb"):
        for size in (1_000, 100_000, 10_000_000):
            with _server(store) as client:
                found.append(_step(client, store, size))
    return found


def _step(client: Client, store: str, size: int) -> Comparison:
    session = client.sessions.create("adamw", hold_params=True)
    grads = {"w": np.random.default_rng(size).standard_normal(size, dtype=np.float32)}
    session.put_params(grads)
    engine = Engine()
    return compare(
        (f"service on {store}, {size:,} held float32", lambda: session.step(grads=grads)),
        ("the engine in process", lambda: engine.step(grads, grads)),
    )


@contextmanager
def _server(store: str) -> Iterator[Client]:
    with tempfile.TemporaryDirectory() as folder:
        url, port = "memory:" if store == "memory" else f"lmdb:{folder}", _free_port()
        command = [sys.executable, "-m", "app.cli", "serve", "--store", url, "--port", str(port)]
        server = subprocess.Popen([*command, "--log-level", "warning"])
        try:
            client = Client(f"http://127.0.0.1:{port}")
            _wait(client)
            yield client
        finally:
            server.terminate()
            server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait(client: Client) -> None:
    for _ in range(100):
        try:
            if client.with_options(max_retries=0).ready():
                return
        except OptimError:
            pass
        time.sleep(0.1)
    raise RuntimeError("the server did not come up")
