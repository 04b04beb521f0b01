"""The memory of a round: what a server and its store hold while contributions wait, and while the round closes.

`python -m benchmarks.round_memory` prints the figures of docs/workers.md, for rounds of several sizes, on `memory:`,
LMDB and Redis. Each worker sends a million float32 gradients, 4 MB, to an AdamW session that holds its parameters. The
server keeps no buffers for later requests.
"""

import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import lmdb
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.bare_client import BareClient
from benchmarks.peers.service import ROOM, Service, held
from benchmarks.peers.workers import LONGEST_SECONDS, Crew
from tests.servers import RedisServer

PARAMETERS = 1_000_000
SIZES = (2, 8, 32)
MIB = 1 << 20
HEAD = (
    "store",
    "workers",
    "server, all in",
    "server, peak of the close",
    "server, closed",
    "store, all in",
    "store, closed",
)


def main() -> None:
    table = Table(*HEAD, title="MiB more than before the round")
    for store in ("memory:", "lmdb", "redis"):
        for workers in SIZES:
            cells = _round(store, workers)
            table.add_row(store, str(workers), *(f"{cell / MIB:,.1f}" for cell in cells))
    Console(width=140).print(table)


def _round(store: str, workers: int) -> list[int]:
    """Return what a round adds to the memory of a new server and to its store, in bytes."""
    params, grads = np.random.default_rng(0).standard_normal((2, PARAMETERS), np.float32)
    setting = {"expected": workers + 1, "quorum": workers, "deadline_seconds": LONGEST_SECONDS}
    setting["grace_seconds"] = LONGEST_SECONDS
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="optim-round-")))
        url, size_of = _store(store, folder, stack)
        server = Service(url, folder / "log", 2, "--spare-bytes=0")
        stack.callback(server.kill)
        server.start()
        bare = stack.enter_context(BareClient(server.port, params.nbytes + ROOM))
        path = stack.enter_context(held(bare, params, workers=setting))
        crew = Crew(bare, path, workers, grads)
        for _ in range(2):  # the first rounds load what later ones find
            crew.contribute()
            crew.close()
        memory, kept = _own_memory(server.pid), size_of()
        crew.contribute()
        all_in, kept_all_in = _own_memory(server.pid), size_of()
        with Peak(server.pid) as peak:
            crew.close()
        found = [all_in - memory, peak.nbytes - memory, _own_memory(server.pid) - memory]
        return [*found, kept_all_in - kept, size_of() - kept]


def _store(name: str, folder: Path, stack: ExitStack) -> tuple[str, Callable[[], int]]:
    """Return the address of a new store, and a function that returns the bytes that are in use in it."""
    if name == "memory:":
        return name, lambda: 0
    if name == "lmdb":
        return f"lmdb:{folder / 'store'}", lambda: _used_pages(folder / "store")
    (folder / "redis").mkdir()
    redis = RedisServer(folder / "redis", "--appendonly", "no").start()
    stack.callback(redis.kill)
    client = stack.enter_context(redis.client())
    return redis.url, lambda: int(client.info("memory")["used_memory"])


def _used_pages(folder: Path) -> int:
    """Return the bytes of an LMDB file's pages that hold data: not those that wait to be used again."""
    with lmdb.open(str(folder), max_dbs=16, readonly=True, lock=False) as file, file.begin() as transaction:
        names = [bytes(key) for key, _ in transaction.cursor() if bytes(key).isalpha()]
        stats = [transaction.stat(file.open_db(name, transaction, create=False)) for name in names]
    return sum(at["psize"] * (at["branch_pages"] + at["leaf_pages"] + at["overflow_pages"]) for at in stats)


class Peak:
    """The peak of a process's own memory within a `with`, sampled each millisecond."""

    def __init__(self, pid: int) -> None:
        self.nbytes = 0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._stop.wait(0.001):
            self.nbytes = max(self.nbytes, _own_memory(self._pid))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        time.sleep(0.01)
        self._stop.set()
        self._thread.join()


def _own_memory(pid: int) -> int:
    """Return the memory of a process without mapped files: Linux's `RssAnon`."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:"))


if __name__ == "__main__":
    main()
