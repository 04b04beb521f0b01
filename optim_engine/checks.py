"""What a step's tensors must be before anything is computed: refusals name the tensor, what it was and what it is."""

from collections.abc import Collection
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from optim_engine.arrays import Array, Arrays
from optim_engine.config import Config
from optim_engine.errors import TensorMismatch
from optim_engine.layout import Layout, Spec, check_dtype
from optim_engine.state import State

Specs: TypeAlias = tuple[list[tuple[int, ...]], list[np.dtype[Any]]]
"""The shapes of some arrays, and their dtypes."""
Asked: TypeAlias = tuple[bool, str | None, tuple[str, ...]]
"""The names of a step's tensors, and the settings that decide what must come with them."""
CHECKED_KEPT = 8
"""Of one layout."""

_CHECKED: WeakKeyDictionary[Layout, dict[Asked, Specs]] = WeakKeyDictionary()
"""The steps that were seen to fit a layout; they go with it."""


def check(config: Config, state: State, params: Arrays, grads: Arrays) -> None:
    """Raise `TensorMismatch` unless each gradient has a parameter like it, and both are as the state knows them."""
    asked: Asked = (config.hold_params, config.wire_dtype, tuple(grads))
    kept = _CHECKED.get(state.layout)
    if kept is None:
        kept = _CHECKED.setdefault(state.layout, {})
    if asked in kept and _passes(kept[asked], config, params, grads):
        return
    _check_each(config, state, params, grads)
    if all(tensor in state.entries for tensor in grads) and not (config.hold_params and params):
        if len(kept) >= CHECKED_KEPT:
            kept.clear()
        kept[asked] = _specs(grads.values())


def _passes(specs: Specs, config: Config, params: Arrays, grads: Arrays) -> bool:
    """Return whether a step is like one that was checked before: a few of Python's steps for each of its tensors."""
    if _specs(grads.values()) != specs:
        return False
    if config.hold_params:
        return not params
    return params.keys() == grads.keys() and _specs([params[tensor] for tensor in grads]) == specs


def _specs(arrays: Collection[Array]) -> Specs:
    return [array.shape for array in arrays], [array.dtype for array in arrays]


def _check_each(config: Config, state: State, params: Arrays, grads: Arrays) -> None:
    if not grads:
        raise TensorMismatch("", "a step needs at least one gradient")
    for tensor, g in grads.items():
        _check_gradient(config, state, tensor, g)
        _check_param(config, state, tensor, params.get(tensor), g)
    for tensor in params:
        if tensor not in grads:
            raise TensorMismatch(tensor, "has a parameter and no gradient; leave it out, or send its gradient")


def _check_gradient(config: Config, state: State, tensor: str, g: Array) -> None:
    if refusal := config.rule.refusal(g.shape):
        raise TensorMismatch(tensor, refusal)
    entry = state.entries.get(tensor)
    if entry is not None:
        entry.spec.check(tensor, g, "the gradient", config.wire_dtype)
    else:
        check_dtype(tensor, g)


def _check_param(config: Config, state: State, tensor: str, θ: Array | None, g: Array) -> None:
    if config.hold_params and tensor in state.entries and "params" in state.entries[tensor].slots:
        if θ is not None:
            raise TensorMismatch(tensor, "the session holds this parameter: send its gradient alone, or PUT params")
    elif θ is None:
        where = "the session does not hold it yet" if config.hold_params else "the session holds no parameters"
        raise TensorMismatch(tensor, f"has a gradient and no parameter, and {where}")
    elif Spec.held(θ, config.wire_dtype) != Spec.held(g, config.wire_dtype):
        like, got = str(Spec.of(g)), str(Spec.of(θ))
        raise TensorMismatch(tensor, f"the parameter is {got}, its gradient is {like}", expected=like, got=got)
