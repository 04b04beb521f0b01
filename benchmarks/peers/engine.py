"""The engine in this process, from state to state, without a service."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

from benchmarks.peers.session import Session, Step
from optim_engine import Config, Outcome, State, step
from optim_engine.arrays import Array, Arrays
from optim_engine.machine import ALONE, NUMPY, Kernel, Machine, fastest


def engine(kernel: Kernel, threads: int, *, in_place: bool = False) -> Session:
    """Return sessions of the engine that hold parameters, as in the service."""

    @contextmanager
    def session(params: Array, grads: Array) -> Iterator[Step]:
        with ThreadPoolExecutor(threads) as pool:
            steps = Engine({"w": params}, {"w": grads}, Machine(kernel, threads, pool), in_place=in_place)
            yield Step(steps.step, lambda outcome: outcome.params["w"])

    return session


def fused() -> Kernel:
    """Return the fused kernel. Raise `RuntimeError` if it cannot run."""
    if (kernel := fastest()) is NUMPY:
        raise RuntimeError("the fused kernel is missing: numba cannot be imported")
    return kernel


class Engine:
    """The steps of one session, all with the same gradients. With `in_place` each writes over the state before it."""

    def __init__(self, params: Arrays, grads: Arrays, machine: Machine = ALONE, *, in_place: bool = False) -> None:
        self._config = Config.parse("adamw", hold_params=True)
        self._state = State.empty().with_params(params)
        self._grads = grads
        self._machine = machine
        self._step = partial(step, in_place=True) if in_place else step

    def step(self) -> Outcome:
        outcome = self._step(self._config, self._state, {}, self._grads, machine=self._machine)
        self._state = outcome.state
        return outcome
