"""The outcome of a step: the next state, the new parameters and the metrics."""

from collections.abc import Sequence
from dataclasses import dataclass

from optim_engine.arrays import Array, Arrays
from optim_engine.reports import Touched
from optim_engine.state import State


@dataclass(frozen=True)
class Metrics:
    """The metrics of one step, all in float64.

    `lr` is the session's learning rate; `grad_norm` the norm of the gradients as they came; `update_norm` and
    `param_norm` the norms of the change and of the new parameters, over the tensors of the step, before rounding;
    `clip_scale` the factor that clipping applied to the gradients, 1 without clipping by norm.
    """

    lr: float
    grad_norm: float
    update_norm: float
    param_norm: float
    clip_scale: float


@dataclass(frozen=True)
class Outcome:
    """The result of a step: the next state, the new parameters and the metrics.

    `params` maps the tensors of the step to arrays, each in its gradient's shape and dtype. If `skipped` is true,
    neither the parameters nor the state's step, counts and moments have changed.
    """

    state: State
    params: Arrays
    metrics: Metrics
    skipped: bool = False
    changes: Array | None = None
    """The sum of squares of each tensor's change, in the order of the names by UTF-8 bytes; `None` if skipped. The root
    of their sum, added in this order, is `metrics.update_norm`."""
    touched: Sequence[Touched] = ()
    """The bytes of the state's memory that `touching` was told, if it was called."""
