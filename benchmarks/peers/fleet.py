"""A fleet: server processes of this service on one Redis, or on a cluster of masters, all on this machine.

No Redis has an append-only file: the disk of one machine is not that of a fleet.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from benchmarks.load import Load
from benchmarks.peers.service import Service
from benchmarks.peers.session import Step
from benchmarks.timing import Spread
from benchmarks.watched import cpu_seconds
from optim_engine.arrays import Array
from tests.redis_cluster import RedisCluster
from tests.servers import RedisServer


@dataclass(frozen=True)
class Run:
    """The figures of a load: steps a second, and for each step the CPU milliseconds, and the bytes to the store."""

    rate: float
    service_ms: float
    store_ms: float
    client_ms: float
    store_bytes: float

    @property
    def cpu_ms(self) -> float:
        return self.service_ms + self.store_ms


class Fleet:
    """Processes of the service on a cluster of so many masters; with one master, on a plain Redis."""

    def __init__(self, folder: Path, processes: int, masters: int = 1) -> None:
        folder.mkdir()
        self._store = RedisCluster(folder, masters) if masters > 1 else RedisServer(folder)
        self._servers = [Service(self._store.url, folder / f"server-{number}.log", 1) for number in range(processes)]

    def __enter__(self) -> Self:
        self._store.start()
        for master in self._masters:
            with master.client() as client:
                client.config_set("appendonly", "no")
        for server in self._servers:
            server.launch()
        for server in self._servers:
            server.wait_until_ready()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.kill()
        self._store.kill()

    @property
    def _masters(self) -> Sequence[RedisServer]:
        return self._store.masters if isinstance(self._store, RedisCluster) else [self._store]

    @contextmanager
    def loaded(self, sessions: int, params: Array, grads: Array) -> Iterator[Callable[[float], Run]]:
        """Make so many sessions, each with a connection to one process; yield what steps them for so many seconds.

        The steps of each session are counted at the end.
        """
        first = self._servers[0]
        with (
            first.step_requests(sessions, params, grads) as steps,
            Load([server.port for server in self._servers], steps) as load,
        ):
            yield partial(self._run, load)
            first.check_steps(steps, load.answers)

    @contextmanager
    def stepped(self, params: Array, grads: Array) -> Iterator[Callable[[float], Run]]:
        """Make a session; yield what steps it for so many seconds, one by one, with bodies of any size."""
        with self._servers[0].steps(params, grads) as step:
            yield partial(self._run, OneByOne(step))

    def _run(self, load: "Load | OneByOne", seconds: float) -> Run:
        before, answered = self._used(), sum(load.answers)
        rate = load.run(seconds)
        steps = sum(load.answers) - answered
        return Run(rate, *((now - then) / steps for now, then in zip(self._used(), before, strict=True)))

    def _used(self) -> tuple[float, float, float, float]:
        """Return the CPU milliseconds of service, store and client so far, and the bytes that went to the store."""
        service, store = (
            1000 * sum(cpu_seconds(server.pid) for server in servers) for servers in (self._servers, self._masters)
        )
        return service, store, 1000 * time.process_time(), sum(map(_received, self._masters))

    def idle_ms(self, seconds: float) -> float:
        """Return the CPU milliseconds a second that an idle process costs the store."""
        _, before, *_ = self._used()
        time.sleep(seconds)
        _, after, *_ = self._used()
        return (after - before) / seconds / len(self._servers)


class OneByOne:
    """A load of one client, which waits for each answer."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self.answers = [0]

    def run(self, seconds: float) -> float:
        """Take steps for so long; return the answers a second."""
        started, before = time.perf_counter(), self.answers[0]
        while (passed := time.perf_counter() - started) < seconds:
            self._step.take()
            self.answers[0] += 1
        return (self.answers[0] - before) / passed


def _received(master: RedisServer) -> float:
    with master.client() as client:
        return float(client.info("stats")["total_net_input_bytes"])


def median(runs: Sequence[Run]) -> Run:
    """Return the medians of each figure."""
    return Run(*(Spread.of([getattr(run, name) for run in runs]).median for name in Run.__dataclass_fields__))
