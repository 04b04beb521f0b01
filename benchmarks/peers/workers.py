"""Rounds of this service: the contributions of several workers, one after the other, which become one step."""

from collections.abc import Iterator
from contextlib import contextmanager

import orjson
from safetensors.numpy import save

from benchmarks.bare_client import BareClient, Request, in_large_pages
from benchmarks.peers.service import JSON, ROOM, SAFETENSORS, Service, held, only_array
from benchmarks.peers.session import Session, Step
from optim_engine.arrays import Array

LONGEST_SECONDS = 600


def worker_rounds(server: Service, workers: int) -> Session:
    """Return sessions whose step is a round of workers with the same gradients. The last gets the answer."""

    @contextmanager
    def crew(params: Array, grads: Array) -> Iterator[Crew]:
        setting = {"expected": workers, "quorum": workers, "deadline_seconds": LONGEST_SECONDS}
        with BareClient(server.port, params.nbytes + ROOM) as bare, held(bare, params, workers=setting) as path:
            yield Crew(bare, path, workers, grads)

    @contextmanager
    def session(params: Array, grads: Array) -> Iterator[Step]:
        with crew(params, grads) as first:  # the server loads its kernels then
            for _ in range(2):
                first.take()
        server.rest()
        with crew(params, grads) as taking:
            yield Step(taking.take, only_array)

    return session


class Crew:
    """The workers of a session, who have joined, with the bodies of their contributions: the same in every round."""

    def __init__(self, bare: BareClient, path: str, size: int, grads: Array) -> None:
        self._bare = bare
        self._path = path
        self._number = 0
        self._bodies = {f"w{i}": in_large_pages(self._joined(f"w{i}", grads)) for i in range(size)}

    def take(self) -> memoryview:
        """Take a round; return the answer to its last contribution, which waits for the step."""
        self.contribute(last_waits=True)
        return self._answer

    def contribute(self, *, last_waits: bool = False) -> None:
        """Send a contribution of each worker, one after the other, to the next round."""
        self._number += 1
        *_, last = self._bodies
        for worker, body in self._bodies.items():
            path = f"{self._path}/rounds/{self._number}/contributions/{worker}"
            headers = ["Prefer: wait=60"] if last_waits and worker == last else []
            self._answer = self._bare.ask(Request("PUT", path, SAFETENSORS, body, *headers))

    def close(self) -> memoryview:
        """Close the round to which all have contributed."""
        return self._bare.send("POST", f"{self._path}/rounds/{self._number}/close", JSON, b"{}")

    def _joined(self, worker: str, grads: Array) -> bytes:
        """Let the worker join; return the body of its contributions."""
        joined = orjson.loads(self._bare.send("PUT", f"{self._path}/workers/{worker}", JSON, b"{}"))
        return save({"grads/w": grads}, {"epoch": str(joined["epoch"])})
