"""The views of the parameters that a state holds, beside the parameters that steps answer."""

from collections.abc import Iterator
from typing import Literal, TypeAlias

import numpy as np

from optim_engine.arrays import Array, rounded
from optim_engine.config import Config
from optim_engine.state import State

View: TypeAlias = Literal["eval", "average"]


def views_of(config: Config) -> tuple[View, ...]:
    """Return the views that a session with that configuration has."""
    return tuple(_views(config))


def _views(config: Config) -> Iterator[View]:
    if any(config.rule_of(group).evaluates for group in config.kinds):
        yield "eval"
    if config.average:
        yield "average"


@np.errstate(all="ignore")
def viewed(config: Config, state: State, view: View) -> dict[str, Array]:
    """Return the held parameters in one of the session's views, each in its tensor's dtype.

    A tensor that no step has updated answers its parameter.
    """
    value, groups = {"eval": _evaluated, "average": _averaged}[view], config.groups_of(state.entries, limited=False)
    return {
        tensor: rounded(value(config, state, tensor, groups[tensor]), θ.dtype) if state.counts[tensor] else θ
        for tensor, θ in state.held().items()
    }


def _evaluated(config: Config, state: State, tensor: str, group: int | None) -> Array:
    entry = state.entries[tensor]
    slots = {slot: state.array(tensor, slot) for slot in entry.moments}
    θ = state.array(tensor, "params").astype(entry.spec.compute_dtype)
    x: Array = config.rule_of(group).evaluated(config.hyperparameters_of(group), θ, slots)
    return x


def _averaged(config: Config, state: State, tensor: str, group: int | None) -> Array:
    assert config.average
    return config.average.value(state.array(tensor, "average"), state.counts[tensor])
