"""A session of 100 million held parameters, which takes three steps on LMDB and on Redis: `make big`.

It has 400 MB of parameters and 800 MB of moments. Redis runs as in docker-compose.yml and writes to disk before it
answers. Then the server is killed, and a new one must read the parameters that the engine alone computes.
"""

import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import numpy as np
import psutil
from optim_client import Client
from rich.console import Console
from rich.table import Table

from optim_engine import Config, State, step
from optim_engine.arrays import Array, Arrays
from tests.durability.processes import ServerProcess, servers
from tests.servers import RedisServer

SHAPES = {"embedding": (32_000, 1024), **{f"layer{i}": (1024, 4096) for i in range(16)}, "bias": (123_136,)}
STEPS = 3
MIB = 1 << 20


def main() -> None:
    table = Table("store", "what", "seconds", "server, peak MiB", "Redis, peak MiB", title="100,000,000 float32")
    kept = {store: _train(store, table) for store in sys.argv[1:] or ["lmdb", "redis"]}
    Console(width=120).print(table)
    expected = _train_here()
    for store, params in kept.items():
        same = params.keys() == expected.keys() and all(np.array_equal(params[k], expected[k]) for k in expected)
        print(f"{store}: {'the same to the bit' if same else 'DIFFERENT'} as the engine alone")
        if not same:
            raise SystemExit(1)


def _train(store: str, table: Table) -> dict[str, Array]:
    """Train on a server and restart it; return the parameters that it reads."""
    with (
        tempfile.TemporaryDirectory(prefix="optim-big-") as folder,
        _store(store, Path(folder)) as (url, redis),
        servers([url], Path(folder), cold=True) as (server,),
        Client(server.url, timeout=600, max_retries=0) as client,
    ):
        session = client.sessions.create("adamw", lr=1e-3, hold_params=True)
        with _measured(table, store, "PUT params", server, redis):
            session.put_params(_tensors(0))
        for number in range(1, STEPS + 1):
            grads = _tensors(number)
            with _measured(table, store, f"step {number}", server, redis):
                session.step(grads=grads)
        server.kill()
        server.start()
        with _measured(table, store, "GET params, killed before", server, redis):
            return session.params()


def _train_here() -> Arrays:
    config = Config.parse("adamw", hyperparameters={"lr": 1e-3}, hold_params=True)
    state = State.empty().with_params(_tensors(0))
    for number in range(1, STEPS + 1):
        state = step(config, state, {}, _tensors(number)).state
    return state.held()


def _tensors(seed: int) -> dict[str, Array]:
    """Return the parameters (seed 0) or the gradients of a step."""
    draw = np.random.default_rng(seed).standard_normal
    return {name: draw(shape, np.float32) for name, shape in SHAPES.items()}


@contextmanager
def _store(name: str, folder: Path) -> Iterator[tuple[str, RedisServer | None]]:
    if name == "lmdb":
        yield f"lmdb:{folder / 'store'}", None
        return
    redis = RedisServer(folder, "--appendfsync", "always", "--maxmemory-policy", "noeviction").start()
    try:
        yield redis.url, redis
    finally:
        redis.kill()


@contextmanager
def _measured(table: Table, store: str, what: str, server: ServerProcess, redis: RedisServer | None) -> Iterator[None]:
    """Add a row to the table: the seconds of the block, and the peak of the processes' own memory."""
    with Peak(server.pid) as by_server, Peak(_pid(redis)) as by_redis:
        started = time.perf_counter()
        yield
        seconds = time.perf_counter() - started
    table.add_row(store, what, f"{seconds:.2f}", f"{by_server.nbytes / MIB:,.0f}", f"{by_redis.nbytes / MIB:,.0f}")


def _pid(redis: RedisServer | None) -> int | None:
    if redis is None:
        return None
    with redis.client() as client:
        return int(client.info("server")["process_id"])


class Peak:
    """The peak memory of a process and its children, sampled ten times a second from Linux.

    Pages of mapped files are not counted, and pages that a fork shares once.
    """

    def __init__(self, pid: int | None) -> None:
        self.nbytes = 0
        self._process = psutil.Process(pid) if pid else None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while self._process and not self._stop.wait(0.1):
            family = [self._process, *self._process.children(recursive=True)]
            self.nbytes = max(self.nbytes, sum(_own_memory(process.pid) for process in family))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def _own_memory(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):  # the process has ended
        return 0
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss_Anon:"))


if __name__ == "__main__":
    main()
