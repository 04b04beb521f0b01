"""The views of the parameters that a state holds, beside the parameters that steps answer."""

from typing import Literal, TypeAlias

import numpy as np

from optim_engine.arrays import Array, rounded
from optim_engine.config import Config
from optim_engine.state import State

View: TypeAlias = Literal["eval", "average"]


def views_of(config: Config) -> tuple[View, ...]:
    """Return the views that a session with that configuration has."""
    return ("average",) if config.average else ()


@np.errstate(all="ignore")
def viewed(config: Config, state: State, view: View) -> dict[str, Array]:
    """Return the held parameters in one of the session's views, each in its tensor's dtype.

    A tensor that no step has updated answers its parameter.
    """
    return {name: _viewed(config, state, view, name, θ) for name, θ in state.held().items()}


def _viewed(config: Config, state: State, view: View, tensor: str, θ: Array) -> Array:
    if config.average is None or not state.counts[tensor]:
        return θ
    return rounded(config.average.value(state.array(tensor, view), state.counts[tensor]), θ.dtype)
