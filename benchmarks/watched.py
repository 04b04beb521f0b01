"""The CPU time of a server for a step of a session whose events somebody follows, and of one that nobody follows.

`python -m benchmarks.watched` prints both, and their ratio. Needs neither torch nor Ray. It is the time of all threads
of the server, from the first step of a block until the follower has the last event of it.
"""

import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Self

import numpy as np

from benchmarks.bare_client import BareClient, StepRequest
from benchmarks.peers.service import ROOM, SAFETENSORS, Service, body_of, held
from benchmarks.timing import Spread
from optim_engine.arrays import Array

PARAMETERS = 1_000
BLOCKS = 40
STEPS = 500
"""The steps of a block."""
FOLLOWED, ALONE = "followed", "not followed"
TIMEOUT_SECONDS = 30.0


def main() -> None:
    params, grads = np.random.default_rng(0).standard_normal((2, PARAMETERS), np.float32)
    with tempfile.TemporaryDirectory(prefix="optim-watched-") as folder:
        server = Service("memory:", Path(folder) / "log", 2)
        try:
            server.start()
            found = cpu_a_step(server, params, grads, BLOCKS)
        finally:
            server.kill()
    for name, spread in found.items():
        print(f"{name}: {spread.median:.4f} ms of CPU a step ({spread.p10:.4f} to {spread.p90:.4f})")
    print(f"ratio {found[FOLLOWED].median / found[ALONE].median:.3f}")


def cpu_a_step(server: Service, params: Array, grads: Array, blocks: int) -> dict[str, Spread]:
    """Return the CPU milliseconds of the server for a step of each session. Their blocks take turns."""
    found: dict[str, list[float]] = {FOLLOWED: [], ALONE: []}
    with (
        BareClient(server.port, params.nbytes + ROOM) as bare,
        held(bare, params) as path,
        held(bare, params) as other,
        Follower(server.port, path) as follower,
    ):
        requests = {
            name: StepRequest(f"{at}/steps", SAFETENSORS, body_of(grads))
            for name, at in zip(found, (path, other), strict=True)
        }
        for block in range(blocks + 1):
            for name in sorted(requests, reverse=block % 2 == 1):
                before = cpu_seconds(server.pid)
                for _ in range(STEPS):
                    bare.ask(requests[name].next())
                follower.wait((block + 1) * STEPS if name == FOLLOWED else 0)
                if block:  # the first is a warm-up
                    found[name].append(1000 * (cpu_seconds(server.pid) - before) / STEPS)
    return {name: Spread.of(values) for name, values in found.items()}


class Follower:
    """A client that takes events as they come, and counts the steps."""

    def __init__(self, port: int, path: str) -> None:
        self.events = 0
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.sendall(f"GET {path}/events HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        if not (head := self._socket.recv(ROOM)).startswith(b"HTTP/1.1 200 "):
            self._socket.close()
            raise RuntimeError(head.decode())
        self._thread = threading.Thread(target=self._read)

    def _read(self) -> None:
        rest = b""
        while data := self._socket.recv(ROOM):
            *lines, rest = (rest + data).split(b"\n")
            self.events += sum(line.startswith(b"event: step") for line in lines)

    def wait(self, count: int) -> None:
        """Return when so many events have come."""
        end = time.monotonic() + TIMEOUT_SECONDS
        while self.events < count:
            if time.monotonic() > end:
                raise TimeoutError(f"{self.events} events in {TIMEOUT_SECONDS:.0f} s; expected {count}")
            time.sleep(0.01)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that the threads of a process have used so far, to the nanosecond."""
    return sum(int(path.read_text().split()[0]) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


if __name__ == "__main__":
    main()
