"""A step through the whole service (client, HTTP, engine, store) against the same step by the engine in process."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from optim_client import Client

from benchmarks.engine import Engine
from benchmarks.timing import Comparison, compare
from tests.durability.processes import servers


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
        url = "memory:" if store == "memory" else f"lmdb:{folder}/store"
        with servers([url], Path(folder)) as (server,), Client(server.url) as client:
            yield client
