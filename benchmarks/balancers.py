"""The time of a step through each balancer of `deploy/` beside the same step without one, and the balancer's CPU time.

`python -m benchmarks.balancers` prints both for a small step, and for one with 40 MB in each direction. Needs HAProxy
and nginx, but neither torch nor Ray.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil

from benchmarks.bare_client import BareClient, StepRequest
from benchmarks.peers.service import ROOM, SAFETENSORS, Service, body_of, held
from benchmarks.timing import Spread, in_turn
from benchmarks.watched import cpu_seconds
from optim_engine.arrays import Array
from tests.fleet.balancer import KINDS, balancer

ROUNDS = {1_000: 300, 10_000_000: 20}
"""By the number of parameters: the rounds."""
DIRECT = "direct"


@dataclass
class Way:
    """A way to the service: its port, and the processes that stand on it."""

    port: int
    processes: list[int] = field(default_factory=list)

    def cpu(self) -> float:
        """Return the CPU seconds that its processes have used so far."""
        return sum(map(cpu_seconds, self.processes))


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="optim-balancers-") as folder, ways(Path(folder)) as found:
        for size, rounds in ROUNDS.items():
            before = {name: way.cpu() for name, way in found.items()}
            times, steps = steps_by(found, size, rounds)
            for name, way in found.items():
                print(f"{size:,} parameters, {name}: {told(times[name], way.cpu() - before[name], steps, 8 * size)}")


def told(spread: Spread, cpu: float, steps: int, nbytes: int) -> str:
    """Return the words for the time of a step, and for the CPU time of those on the way, which took so many steps."""
    words = f"{spread.median:.2f} ms ({spread.p10:.2f} to {spread.p90:.2f})"
    if cpu:
        words += f", {1000 * cpu / steps:.3f} ms of CPU in between, {1e9 * cpu / steps / nbytes:.2f} s for 1 GB"
    return words


@contextmanager
def ways(folder: Path) -> Iterator[dict[str, Way]]:
    """Run a service and each balancer before it; yield the ways to it by name."""
    server = Service("memory:", folder / "log", 2)
    try:
        server.start()
        with ExitStack() as stack:
            found = {DIRECT: Way(server.port)}
            for kind in KINDS:
                front = stack.enter_context(balancer(kind, folder, [server.port]))
                children = psutil.Process(front.pid).children(recursive=True)
                found[kind] = Way(front.port, [front.pid, *(child.pid for child in children)])
            yield found
    finally:
        server.kill()


def steps_by(found: Mapping[str, Way], size: int, rounds: int) -> tuple[dict[str, Spread], int]:
    """Return the milliseconds of a step by each way, from and to arrays of so many parameters, and how many it took."""
    params, grads = np.random.default_rng(0).standard_normal((2, size), np.float32)
    with ExitStack() as stack:
        steppers = {name: stack.enter_context(Stepper(way.port, params, grads)) for name, way in found.items()}
        times = in_turn({name: stepper.take for name, stepper in steppers.items()}, rounds)
    return times, steppers[DIRECT].taken


class Stepper:
    """A session that holds its parameters, and its steps by one way."""

    def __init__(self, port: int, params: Array, grads: Array) -> None:
        self.taken = 0
        self._stack = ExitStack()
        self._bare = self._stack.enter_context(BareClient(port, params.nbytes + ROOM))
        path = self._stack.enter_context(held(self._bare, params))
        self._request = StepRequest(f"{path}/steps", SAFETENSORS, body_of(grads))

    def take(self) -> None:
        self._bare.ask(self._request.next())
        self.taken += 1

    def __enter__(self) -> "Stepper":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()


if __name__ == "__main__":
    main()
