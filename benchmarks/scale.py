"""A model of a fleet: what limits its steps a second. `docs/scale.md` explains it.

`python -m benchmarks.scale` measures the costs of a step on one process and one Redis, predicts the rates of 1, 2, 4
and 8 processes on this machine, measures them, and prints all tables of that page. Needs neither torch nor Ray.
"""

import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.page import markdown
from benchmarks.peers.fleet import Fleet, Run, median
from optim_engine.arrays import Array

SMALL, LARGE = 1_000, 1_000_000
PROCESSES = (1, 2, 4, 8)
NODES = (10, 100, 1_000)
SESSIONS = 64
ROUNDS = 3
SECONDS = 1.5
IDLE_SECONDS = 4.0

NODE_CORES = 16
NODE_NIC = 25e9 / 8
"""Bytes a second in each direction: 25 Gbit/s."""
NODE_DISK = 2e9
"""Bytes a second that a node appends to its disk."""
MOST_CLIENTS = 10_000
"""Connections of a Redis, by default (`maxclients`)."""
MOST_MASTERS = 1_000
"""Nodes of a cluster, by Redis's own advice."""
CONNECTIONS = 32
"""The most connections of a process to a master."""


@dataclass(frozen=True)
class Costs:
    """The costs of a step: CPU milliseconds of the service, of the store and of its client, and bytes to the store."""

    parameters: int
    service_ms: float
    store_ms: float
    client_ms: float
    store_bytes: float

    @classmethod
    def of(cls, parameters: int, run: Run) -> "Costs":
        figures = (run.service_ms, run.store_ms, run.client_ms)
        return cls(parameters, *(round(figure, 3) for figure in figures), round(run.store_bytes))


def on_one_machine(costs: Costs, processes: int, cores: int) -> float:
    """Return the steps a second of so many processes with one Redis and the client, all on one machine."""
    everything = costs.service_ms + costs.store_ms + costs.client_ms
    return 1000 * min(processes / costs.service_ms, 1 / costs.store_ms, cores / everything)


def limits(costs: Costs, services: int, stores: int) -> dict[str, float]:
    """Return the steps a second that each part of a fleet allows, on so many nodes of either kind."""
    body = 4 * costs.parameters  # float32, in each direction
    return {
        "cores of the service": services * NODE_CORES * 1000 / costs.service_ms,
        "cores of the store": stores * NODE_CORES * 1000 / costs.store_ms,
        "network of the service": services * NODE_NIC / (body + costs.store_bytes),
        "network of the store": stores * NODE_NIC / costs.store_bytes,
        "disks of the store": stores * NODE_DISK / costs.store_bytes,
    }


def best(costs: Costs, nodes: int) -> tuple[int, str, float]:
    """Return the nodes for the service in the quickest fleet of so many, what limits it, and its steps a second."""
    fleets = ((services, limits(costs, services, nodes - services)) for services in range(1, nodes))
    services, found = max(fleets, key=lambda fleet: min(fleet[1].values()))
    first = min(found, key=found.__getitem__)
    return services, first, found[first]


def fleets(costs: Sequence[Costs]) -> Iterator[list[str]]:
    """Yield the table of fleets; the first row is its head."""
    yield ["nodes", "parameters", "for the service", "for the store", "steps a second", "first limit"]
    for nodes in NODES:
        for each in costs:
            services, first, rate = best(each, nodes)
            counts = nodes, each.parameters, services, nodes - services
            yield [*(f"{count:,}" for count in counts), f"{rate:,.0f}", first]


def breaks(idle_ms: float) -> list[list[str]]:
    """Return the table of what the number of processes breaks; the first row is its head."""
    return [
        ["limit", "service processes"],
        ["connections of a master, all in use", f"{MOST_CLIENTS // CONNECTIONS:,}"],
        ["a tenth of the core of the master with the deadlines", f"{100 / idle_ms:,.0f}"],
        ["connections of a master, one a process", f"{MOST_CLIENTS:,}"],
        ["the core of the master with the deadlines", f"{1000 / idle_ms:,.0f}"],
    ]


def costs_table(costs: Sequence[Costs]) -> list[list[str]]:
    """Return the table of costs; the first row is its head."""
    head = ["parameters", "CPU of the service", "CPU of the store", "CPU of the client", "bytes to the store"]
    return [
        head,
        *(
            [f"{c.parameters:,}", *(f"{ms} ms" for ms in (c.service_ms, c.store_ms, c.client_ms)), f"{c.store_bytes:,}"]
            for c in costs
        ),
    ]


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="optim-scale-") as folder:
        runs = {processes: small_steps(Path(folder) / f"{processes}", processes) for processes in PROCESSES}
        small, large = Costs.of(SMALL, runs[1]), Costs.of(LARGE, large_steps(Path(folder) / "large"))
        with Fleet(Path(folder) / "idle", PROCESSES[-1]) as fleet:
            idle_ms = round(fleet.idle_ms(IDLE_SECONDS), 3)
    print(markdown(costs_table([small, large])))
    print(markdown(compared(small, runs)))
    print(markdown([*fleets([small, large])]))
    print(f"An idle process costs its store {idle_ms} ms of CPU a second.\n")
    print(markdown(breaks(idle_ms)))


def small_steps(folder: Path, processes: int) -> Run:
    """Return the medians of rounds of small steps by so many processes, on one Redis."""
    with Fleet(folder, processes) as fleet, fleet.loaded(SESSIONS, *vectors(SMALL)) as run:
        return median([run(SECONDS) for _ in range(ROUNDS + 1)][1:])


def large_steps(folder: Path) -> Run:
    """Return the medians of rounds of large steps by one process, on one Redis."""
    with Fleet(folder, 1) as fleet, fleet.stepped(*vectors(LARGE)) as run:
        return median([run(SECONDS) for _ in range(ROUNDS + 1)][1:])


def vectors(size: int) -> tuple[Array, Array]:
    """Return random parameters and gradients."""
    params, grads = np.random.default_rng(0).standard_normal((2, size), np.float32)
    return params, grads


def compared(costs: Costs, runs: Mapping[int, Run]) -> list[list[str]]:
    """Return the table of predictions and measurements; the first row is its head."""
    cores = len(os.sched_getaffinity(0))
    rows = [["processes", "predicted", "measured", "measured to predicted", "CPU of a step"]]
    for processes, run in runs.items():
        predicted = on_one_machine(costs, processes, cores)
        figures = f"{predicted:,.0f}", f"{run.rate:,.0f}", f"{run.rate / predicted:.2f}"
        rows.append([f"{processes}", *figures, f"{run.cpu_ms + run.client_ms:.2f} ms"])
    return rows


if __name__ == "__main__":
    main()
