"""The optimizers: arrays in, arrays out, no I/O. They need NumPy alone, and use numba where it is installed.

    config = Config.parse("adamw", hyperparameters={"lr": 1e-3})
    state = State.empty()
    outcome = step(config, state, params, grads)
    params, state = outcome.params, outcome.state

`params` and `grads` map the names of tensors to arrays of float64, float32, float16 or bfloat16, of any shape.
Whatever the engine refuses, it raises as an `EngineError`.
"""

from optim_engine.averages import Average
from optim_engine.config import Config
from optim_engine.edits import Edits
from optim_engine.errors import EngineError, InvalidConfig, NonFinite, TensorMismatch
from optim_engine.held_params import held_params
from optim_engine.layout import Entry, Layout, Spec
from optim_engine.optimizers import OPTIMIZERS
from optim_engine.outcome import Metrics, Outcome
from optim_engine.reports import Filled, Touched, Touching
from optim_engine.schedules import SCHEDULES
from optim_engine.state import State
from optim_engine.update import examine, is_refused_early, reapply, step

__all__ = [
    "OPTIMIZERS",
    "SCHEDULES",
    "Average",
    "Config",
    "Edits",
    "EngineError",
    "Entry",
    "Filled",
    "InvalidConfig",
    "Layout",
    "Metrics",
    "NonFinite",
    "Outcome",
    "Spec",
    "State",
    "TensorMismatch",
    "Touched",
    "Touching",
    "examine",
    "held_params",
    "is_refused_early",
    "reapply",
    "step",
]
