"""The groups of competitors, which take turns at each size. Needs torch and Ray.

After a size's rounds all competitors of a group have taken the same number of steps, from the same parameters with the
same gradients. Their parameters are compared, so that none can be quick by doing other work.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch

from benchmarks.agreement import check_agreement
from benchmarks.peers.engine import Engine, engine, fused
from benchmarks.peers.rig import Rig
from benchmarks.peers.service import Service
from benchmarks.peers.session import Session
from benchmarks.peers.torch_adamw import FORMS, in_process
from benchmarks.timing import FEWEST_ROUNDS, Spread, in_turn
from optim_engine.arrays import Array
from optim_engine.machine import NUMPY, Machine

THREADS = 2
"""The default number of threads of each competitor."""

ROUNDS = {1_000: 500, 10_000: 300, 100_000: 100, 1_000_000: 30, 10_000_000: 15, 100_000_000: 5}
"""The most rounds of each competitor, by the number of parameters."""

ALONE = 100_000_000
"""From this size on, competitors run one after the other, because together they do not fit into memory."""

Measured = Iterator[tuple[int, dict[str, Spread]]]
"""Sizes, each with the times of all competitors."""

Competitors = Mapping[str, Callable[[Rig], Session]]


@dataclass(frozen=True)
class Group:
    """A group of competitors. With `agree`, all must have the same parameters; `threads` are those of this process."""

    competitors: Competitors
    sizes: Sequence[int] = tuple(ROUNDS)
    agree: bool = True
    threads: int = THREADS

    def measure(self, sizes: Sequence[int], hurry: int) -> Measured:
        """Measure those of the group's sizes, smallest first; `hurry` divides the rounds."""
        torch.set_num_threads(self.threads)
        wanted = [size for size in self.sizes if size in sizes]
        with Rig(THREADS) as rig:
            for size in (size for size in wanted if size < ALONE):
                yield size, self._in_turn(size, hurry, rig, self.competitors)
        for size in (size for size in wanted if size >= ALONE):
            found: dict[str, Spread] = {}
            for name, competitor in self.competitors.items():
                with Rig(THREADS) as rig:
                    found |= self._in_turn(size, hurry, rig, {name: competitor})
            yield size, found

    def _in_turn(self, size: int, hurry: int, rig: Rig, competitors: Competitors) -> dict[str, Spread]:
        params, grads = vectors(size)
        with ExitStack() as stack:
            steps = {name: stack.enter_context(of(rig)(params, grads)) for name, of in competitors.items()}
            spreads = in_turn({name: step.take for name, step in steps.items()}, rounds(size, hurry))
            if self.agree:
                check_agreement({name: step.read(step.take()) for name, step in steps.items()}, params)
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
    engines = {"engine": engine(NUMPY, threads), "engine fused": engine(fused(), threads)}
    torches = {f"torch {form}": in_process(form) for form in FORMS}
    return Group({name: _here(session) for name, session in {**engines, **torches}.items()}, threads=threads)


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


GROUPS = {
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
    "exchange": Group(
        {"service": lambda rig: rig.memory.replays, "bare socket": lambda rig: rig.floor["exchange"]},
        sizes=(1_000, 100_000, 10_000_000),
        agree=False,
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
    "peak-memory": peak_memory,
}
"""The groups by name. Sessions hold their parameters and requests are binary, except in `json`."""
