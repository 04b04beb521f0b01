"""The groups of competitors, which take turns at each size. Needs torch and Ray.

After a size's rounds all competitors of a group that compute have taken the same number of steps, from the same
parameters with the same gradients. Their parameters are compared, so that none can be quick by doing other work.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np
import torch

from benchmarks.agreement import check_agreement
from benchmarks.bare_client import StepRequest
from benchmarks.load import Load
from benchmarks.peers.canned import canned
from benchmarks.peers.echo import PATH
from benchmarks.peers.engine import Engine, engine, fused
from benchmarks.peers.rig import Rig
from benchmarks.peers.service import SAFETENSORS, Service, body_of
from benchmarks.peers.session import Session
from benchmarks.peers.sink import uploads
from benchmarks.peers.table import NAMED, WHOLE, table_steps
from benchmarks.peers.torch_adamw import FORMS, in_process
from benchmarks.peers.torch_client import remote_adamw
from benchmarks.peers.workers import worker_rounds
from benchmarks.timing import FEWEST_ROUNDS, REST_SECONDS, Spread, Timing, alone, in_turn
from benchmarks.watched import BLOCKS, cpu_a_step
from optim_engine.arrays import Array
from optim_engine.machine import NUMPY, Machine

THREADS = 2
"""The default number of threads of each competitor."""

ROUNDS = {1_000: 500, 10_000: 300, 100_000: 100, 1_000_000: 30, 10_000_000: 15, 100_000_000: 5}
"""The most rounds of each competitor, by the number of parameters."""

LARGEST = 100_000_000
"""From this size on, competitors run one after the other, because together they do not fit into memory."""

RAY_WARM_UP = 50
"""The rounds of a warm-up in which Ray has used all of its object store: a step in fresh memory takes twice as long."""

CONNECTIONS = 64
LOAD_SECONDS = 1.5
"""The time of a round of requests on all connections."""
WORKERS = 8
"""The workers whose contributions become a step."""

Measured: TypeAlias = Iterator[tuple[int, dict[str, Spread]]]
"""Sizes, each with the times of all competitors."""

Competitors: TypeAlias = Mapping[str, Callable[[Rig], Session]]


@dataclass(frozen=True)
class Group:
    """A group of competitors. `threads` are those of this process."""

    competitors: Competitors
    sizes: Sequence[int] = tuple(ROUNDS)
    threads: int = THREADS
    timing: Timing = in_turn

    def measure(self, sizes: Sequence[int], hurry: int) -> Measured:
        """Measure those of the group's sizes, smallest first; `hurry` divides the rounds."""
        torch.set_num_threads(self.threads)
        wanted = [size for size in self.sizes if size in sizes]
        with Rig(THREADS) as rig:
            for size in (size for size in wanted if size < LARGEST):
                yield size, self._in_turn(size, hurry, rig, self.competitors)
        for size in (size for size in wanted if size >= LARGEST):
            found: dict[str, Spread] = {}
            for name, competitor in self.competitors.items():
                with Rig(THREADS) as rig:
                    found |= self._in_turn(size, hurry, rig, {name: competitor})
            yield size, found

    def _in_turn(self, size: int, hurry: int, rig: Rig, competitors: Competitors) -> dict[str, Spread]:
        params, grads = vectors(size)
        with ExitStack() as stack:
            steps = {name: stack.enter_context(of(rig)(params, grads)) for name, of in competitors.items()}
            spreads = self.timing({name: step.take for name, step in steps.items()}, rounds(size, hurry))
            check_agreement({name: step.read(step.take()) for name, step in steps.items() if step.read}, params)
        return spreads


def rounds(size: int, hurry: int) -> int:
    """Return the number of rounds."""
    return max(FEWEST_ROUNDS, ROUNDS[size] // hurry)


def vectors(size: int) -> tuple[Array, Array]:
    """Return random parameters and gradients."""
    params, grads = np.random.default_rng(size).standard_normal((2, size), np.float32)
    return params, grads


def _here(session: Session) -> Callable[[Rig], Session]:
    """Return a competitor that needs no server."""
    return lambda _: session


def _in_process(threads: int) -> Group:
    """Return the group of those that compute in this process."""
    engines = {
        "engine": engine(NUMPY, threads),
        "engine fused": engine(fused(), threads),
        "engine fused, in place": engine(fused(), threads, in_place=True),
    }
    torches = {f"torch {form}": in_process(form) for form in FORMS}
    competitors = {name: _here(session) for name, session in {**engines, **torches}.items()}
    return Group(competitors, threads=threads, timing=partial(in_turn, rest=REST_SECONDS) if threads > 1 else in_turn)


def tensors(sizes: Sequence[int], hurry: int) -> Measured:
    """Measure the engine on 100,000 parameters: in 1,000 tensors, and in one."""
    if (size := 100_000) in sizes:
        params, grads = vectors(size)
        many = [{f"w{i}": part for i, part in enumerate(np.split(array, 1000))} for array in (params, grads)]
        one = {"w": params}, {"w": grads}
        engines = {
            "1,000 tensors": Engine(*many),
            "one tensor": Engine(*one),
            "1,000 tensors, fused": Engine(*many, Machine(fused())),
            "one tensor, fused": Engine(*one, Machine(fused())),
        }
        yield size, in_turn({name: engine.step for name, engine in engines.items()}, rounds(size, hurry))


def table(sizes: Sequence[int], hurry: int) -> Measured:
    """Measure steps of 1,000 rows of a table of a million, beside those of all rows and of as many elements."""
    if NAMED in sizes:
        with Rig(THREADS) as rig, table_steps(rig.memory) as works:
            few = in_turn({name: work for name, work in works.items() if name != WHOLE}, rounds(NAMED, hurry))
            yield NAMED, few | in_turn({WHOLE: works[WHOLE]}, FEWEST_ROUNDS, warm_up=1)


def peak_memory(sizes: Sequence[int], hurry: int) -> Measured:
    """Measure the peak memory in MiB of fresh servers that take parameters and five steps, and the allowed one."""
    if (size := 10_000_000) in sizes:
        params, grads = vectors(size)
        allowed = 3 * (3 * params.nbytes) + 2 * grads.nbytes
        with Rig(THREADS) as rig:
            servers = {"server on memory:": rig.memory, "server on Redis": rig.on_redis}
            peaks = {name: _peak_of(server, params, grads) for name, server in servers.items()}
        yield size, {name: Spread.of([n / (1 << 20)]) for name, n in {**peaks, "3 × state + 2 × body": allowed}.items()}


def _peak_of(server: Service, params: Array, grads: Array) -> int:
    with server.steps(params, grads) as step:
        for _ in range(5):
            step.take()
        return server.peak_bytes()


def watched(sizes: Sequence[int], hurry: int) -> Measured:
    """Measure the CPU time of the server for a step, in milliseconds, with a follower of its events and without."""
    if (size := 1_000) in sizes:
        with Rig(THREADS) as rig:
            yield size, cpu_a_step(rig.memory, *vectors(size), max(FEWEST_ROUNDS, BLOCKS // hurry))


def connections(sizes: Sequence[int], hurry: int) -> Measured:
    """Measure the requests a second on many connections, each with a session of its own.

    The third competitor is a server that does nothing, so that the load generator is what limits it.
    """
    if (size := 1_000) in sizes:
        params, grads = vectors(size)
        with Rig(THREADS) as rig, ExitStack() as stack:
            steps = stack.enter_context(rig.memory.step_requests(CONNECTIONS, params, grads))
            sent = [StepRequest(PATH, SAFETENSORS, body_of(grads)) for _ in range(CONNECTIONS)]
            ports = {
                "service, memory:": (rig.memory.port, steps),
                "echo": (rig.echo_port, sent),
                "load generator's limit": (stack.enter_context(canned(len(sent[0].head))), sent),
            }
            loads = {name: stack.enter_context(Load([port], requests)) for name, (port, requests) in ports.items()}
            yield size, _rates(loads, LOAD_SECONDS / hurry)
            rig.memory.check_steps(steps, loads["service, memory:"].answers)


def _rates(loads: Mapping[str, Load], seconds: float) -> dict[str, Spread]:
    """Run the loads in turns, each first for a warm-up; return their answers a second."""
    rates: dict[str, list[float]] = {name: [] for name in loads}
    order, shuffle = list(loads), random.Random(0).shuffle
    for _ in range(FEWEST_ROUNDS):
        shuffle(order)
        for name in order:
            loads[name].run(seconds / 5)
            rates[name].append(loads[name].run(seconds))
    return {name: Spread.of(found) for name, found in rates.items()}


SMALL = {"service, memory:": lambda rig: rig.memory.steps, "echo": lambda rig: rig.echo}

ON_A_UNIX_SOCKET = {
    "service, unix socket": lambda rig: rig.unix.client_steps,
    "service, unix socket, made in the region": lambda rig: partial(rig.unix.client_steps, in_region=True),
}

GROUPS = {
    "small-step": Group(SMALL, sizes=(1_000,)).measure,
    "small-step-alone": Group(SMALL, sizes=(1_000,), timing=alone).measure,
    "small-step-saved": Group(
        {
            "service, LMDB": lambda rig: rig.lmdb.steps,
            "file, synced": lambda rig: rig.file,
            "echo": lambda rig: rig.echo,
        },
        sizes=(1_000,),
    ).measure,
    "connections": connections,
    "step": Group(
        {
            "service, memory:": lambda rig: rig.memory.steps,
            "service, memory:, Python client": lambda rig: rig.memory.client_steps,
            "service, LMDB": lambda rig: rig.lmdb.steps,
            "service, LMDB relaxed": lambda rig: rig.lmdb_relaxed.steps,
            "service, Redis": lambda rig: rig.on_redis.steps,
            "torch RPC": lambda rig: rig.torch_rpc,
            "Ray actor": lambda rig: rig.ray,
            "floor, memory": lambda rig: rig.floor["memory"],
            "floor, Redis": lambda rig: rig.floor["redis"],
        }
    ).measure,
    "appendfsync-always": Group(
        {"service, Redis": lambda rig: rig.on_redis_always.steps, "torch RPC": lambda rig: rig.torch_rpc},
        sizes=(1_000, 10_000_000),
    ).measure,
    "lmdb": Group(
        {
            "service, LMDB": lambda rig: rig.lmdb.steps,
            "bare LMDB": lambda rig: rig.bare_lmdb,
            "floor, memory": lambda rig: rig.floor["memory"],
        },
        sizes=(10_000_000,),
    ).measure,
    "lmdb-relaxed": Group(
        {
            "service, LMDB relaxed": lambda rig: rig.lmdb_relaxed.steps,
            "bare LMDB relaxed": lambda rig: rig.bare_lmdb_relaxed,
            "floor, memory": lambda rig: rig.floor["memory"],
        },
        sizes=(10_000_000,),
    ).measure,
    "one-machine": Group(
        {
            "service, memory:, Python client": lambda rig: rig.memory.client_steps,
            "Ray actor": lambda rig: rig.ray,
            **ON_A_UNIX_SOCKET,
        },
        sizes=(10_000_000,),
        timing=partial(in_turn, warm_up=RAY_WARM_UP),
    ).measure,
    "exchange": Group(
        {"service": lambda rig: rig.memory.replays, "bare socket": lambda rig: rig.floor["exchange"]},
        sizes=(10_000_000,),
    ).measure,
    "workers": Group(
        {
            "service, memory:, 8 workers": lambda rig: worker_rounds(rig.memory, WORKERS),
            "sink, 8 uploads": lambda _: uploads(WORKERS),
            "service, memory:": lambda rig: rig.memory.steps,
        },
        sizes=(1_000_000,),
    ).measure,
    "json": Group(
        {
            "service, Redis": lambda rig: rig.on_redis.json_steps,
            "plain FastAPI": lambda rig: rig.plain_fastapi["typed"],
            "plain FastAPI, answers untyped": lambda rig: rig.plain_fastapi["untyped"],
        },
        sizes=(1_000, 10_000, 100_000, 1_000_000),
    ).measure,
    "one-thread": _in_process(1).measure,
    "two-threads": _in_process(2).measure,
    "tensors": tensors,
    "client-tensors": Group(
        {
            "1,000 tensors": lambda rig: partial(rig.memory.client_steps, tensors=1_000),
            "one tensor": lambda rig: rig.memory.client_steps,
        },
        sizes=(100_000,),
    ).measure,
    "client-torch": Group(
        {
            "service, memory:, Python client": lambda rig: rig.memory.client_steps,
            "service, memory:, RemoteAdamW": lambda rig: remote_adamw(rig.memory),
        },
        sizes=(10_000_000,),
    ).measure,
    "traces": Group(
        {
            "service, memory:": lambda rig: rig.memory.steps,
            "service, memory:, traced": lambda rig: rig.traced.steps,
        },
        sizes=(1_000,),
        timing=alone,
    ).measure,
    "health": Group(
        {
            "health, memory:": lambda rig: rig.memory.health,
            "service, memory:": lambda rig: rig.memory.steps,
        },
        sizes=(10_000_000,),
    ).measure,
    "table": table,
    "watched": watched,
    "peak-memory": peak_memory,
}
"""The groups by name. Sessions hold their parameters and requests are binary, except in `json`."""
