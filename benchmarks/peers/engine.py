"""The engine in this process, from state to state: the arithmetic alone."""

from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks.peers.session import Step
from optim_engine import Config, Outcome, State, step
from optim_engine.arrays import Array, Arrays


@contextmanager
def engine(params: Array, grads: Array) -> Iterator[Step]:
    """Held parameters, as in the service."""
    yield Step(Engine({"w": params}, {"w": grads}).step, lambda outcome: outcome.params["w"])


class Engine:
    """One session's steps, all with the same gradients."""

    def __init__(self, params: Arrays, grads: Arrays) -> None:
        self._config = Config.parse("adamw", hold_params=True)
        self._state = State.empty().with_params(params)
        self._grads = grads

    def step(self) -> Outcome:
        outcome = step(self._config, self._state, {}, self._grads)
        self._state = outcome.state
        return outcome
