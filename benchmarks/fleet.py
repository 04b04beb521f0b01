"""Small steps by four processes on a cluster of three masters, beside four and one on one Redis.

`python -m benchmarks.fleet` prints the steps a second of each, and the CPU time of a step: of the service's processes
and of the store's. Needs neither torch nor Ray.
"""

import tempfile
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from benchmarks.peers.fleet import Fleet, Run, median

PARAMETERS = 1_000
SESSIONS = 64
ROUNDS = 3
SECONDS = 1.5
"""The time of a round."""
FLEETS = {"1 process, 1 Redis": (1, 1), "4 processes, 1 Redis": (4, 1), "4 processes, a cluster of 3": (4, 3)}
"""By name: the processes, and the masters."""


def main() -> None:
    found = {name: median(runs) for name, runs in measured(ROUNDS, SECONDS).items()}
    one, *_ = found.values()
    for name, run in found.items():
        print(
            f"{name}: {run.rate:,.0f} steps/s ({run.rate / one.rate:.2f} ×), {run.cpu_ms:.3f} ms of CPU a step "
            f"({run.cpu_ms / one.cpu_ms:.2f} ×; {run.service_ms:.3f} of the service, {run.store_ms:.3f} of the store)"
        )


def measured(rounds: int, seconds: float) -> dict[str, list[Run]]:
    """Measure each fleet. Their rounds take turns, because a machine is not equally quick all the time."""
    params, grads = np.random.default_rng(0).standard_normal((2, PARAMETERS), np.float32)
    found: dict[str, list[Run]] = {name: [] for name in FLEETS}
    with tempfile.TemporaryDirectory(prefix="optim-fleet-") as folder, ExitStack() as stack:
        fleets = {name: stack.enter_context(Fleet(Path(folder) / name, *size)) for name, size in FLEETS.items()}
        steppers = {name: stack.enter_context(fleet.loaded(SESSIONS, params, grads)) for name, fleet in fleets.items()}
        for turn in range(rounds + 1):
            for name, run in steppers.items():
                figures = run(seconds)
                found[name] += [figures] * (turn > 0)  # the first is a warm-up
    return found


if __name__ == "__main__":
    main()
