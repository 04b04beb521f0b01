"""A session of many workers as the oracles and the engine have it: the model of any sequence of their requests.

Who is in and when a round closes is the business of `tests/oracle_rounds.py`. Knows no HTTP and no store.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from optim_client import Rows

from optim_engine import Config, State, step
from optim_engine.arrays import Array, Arrays
from tests import oracle_aggregate
from tests.oracle import square_sum
from tests.oracle_async import Stream
from tests.oracle_rounds import Contribution, Rounds, Settings, in_order
from tests.service.engine_session import EngineSession


@dataclass(frozen=True)
class Gradients:
    """The gradients of a contribution: all elements of each tensor, in plain floats; some tensors are float64."""

    tensors: Mapping[str, Sequence[float]]
    wide: Collection[str]

    @property
    def norm(self) -> float:
        """Return the norm: the tensors' sums of squares are added in the order of their names."""
        total = 0.0
        for name in sorted(self.tensors, key=str.encode):
            total += square_sum(self.tensors[name], single=name not in self.wide)
        return sqrt(total)

    def of(self, name: str, length: int) -> Sequence[float]:
        """Return the elements of a tensor. One that was not named counts as zeros."""
        return self.tensors.get(name, [0.0] * length)


class RoundSession:
    """A session of held parameters. `sent` has the gradients of each contribution by its body."""

    def __init__(self, path: str, config: Config, workers: Mapping[str, Any], params: Arrays) -> None:
        self.engine = EngineSession(path, config, 0, params, State.empty().with_params(params))
        self.workers = {"aggregate": "mean", **workers}
        self.rounds = self._begun()
        self.sent: dict[bytes, Gradients] = {}
        self.digests: dict[int, str] = {}
        """The digest of the session after each step."""

    def _begun(self) -> Any:
        limits = {name: self.workers[name] for name in Settings._fields if name in self.workers}
        return Rounds(Settings(**limits, skips=self.engine.config.on_non_finite == "skip"), self._apply)

    @property
    def path(self) -> str:
        return self.engine.path

    def dense(self, grads: Mapping[str, Any]) -> Gradients:
        """Return all elements of gradients, with zeros for those that a sparse one does not name."""
        wide = [name for name in grads if self.engine.params[name].dtype == np.float64]
        return Gradients({name: self._elements(name, g) for name, g in grads.items()}, wide)

    def _elements(self, name: str, g: Any) -> list[float]:
        if isinstance(g, Rows):
            whole = np.zeros(self.engine.params[name].shape)
            whole[np.asarray(g.indices)] = np.asarray(g.values, np.float64)
        else:
            whole = np.asarray(self.engine._dense(name, g), np.float64)
        elements: list[float] = whole.reshape(-1).tolist()
        return elements

    def _apply(self, number: int, applied: Sequence[Contribution]) -> None:
        """Take the plain step of what the contributions become."""
        assert len(applied) >= self.rounds.settings.quorum
        engine, applied = self.engine, in_order(applied)
        names = {name for one in applied for name in self.sent[one.body].tensors}
        grads = {name: self._aggregate(applied, name) for name in names}
        dtypes = {name: engine.params[name].dtype for name in names}
        engine.state = step(engine.config, engine.state, {}, grads, dtypes=dtypes).state
        self.digests[number] = engine.digest
        assert engine.state.t == number

    def _aggregate(self, applied: Sequence[Contribution], name: str) -> Array:
        """Return the gradient of a tensor in the dtype of its moments."""
        θ, these = self.engine.params[name], [self.sent[one.body] for one in applied]
        dtype = np.promote_types(θ.dtype, np.float32)
        values = oracle_aggregate.aggregate(
            self.workers["aggregate"],
            [one.of(name, θ.size) for one in these],
            [one.weight for one in applied],
            [one.norm for one in these],
            max_norm=self.workers.get("max_norm") or 0.0,
            trim=self.workers.get("trim") or 0.0,
            single=dtype == np.float32,
        )
        return np.array(values, dtype).reshape(θ.shape)


class AsyncSession(RoundSession):
    """A session of held parameters, each contribution to which is a step of its own."""

    def _begun(self) -> Any:
        return Stream(self.workers["max_staleness"], self._apply)

    def _apply(self, number: int, applied: Sequence[Contribution]) -> None:
        """Take the plain step of a contribution, with a smaller learning rate if it is stale and the session scales."""
        engine, (one,) = self.engine, applied
        assert one.base_step is not None
        scale = sqrt(number - one.base_step) if self.workers["staleness"] == "scale" else 1.0
        grads = {name: self._narrow(name, values) for name, values in self.sent[one.body].tensors.items()}
        lr = engine.config.hyperparameters.lr / scale
        engine.state = step(engine.config, engine.state, {}, grads, lr=lr).state
        self.digests[number] = engine.digest

    def _narrow(self, name: str, values: Sequence[float]) -> Array:
        θ = self.engine.params[name]
        return np.array(values).reshape(θ.shape).astype(θ.dtype)
