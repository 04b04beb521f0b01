"""Checks of tensors before anything is computed. A refusal names the tensor, what was expected and what came."""

import json

import numpy as np

from optim_engine.arrays import Array, Arrays
from optim_engine.config import Config
from optim_engine.errors import TensorMismatch
from optim_engine.globs import literal
from optim_engine.layout import Spec, check_dtype
from optim_engine.rule import Shape
from optim_engine.state import State

OTHER_RULE = "adamw"
"""The rule that a refusal names for the tensor, because it takes any shape."""


def check(config: Config, state: State, params: Arrays, grads: Arrays) -> None:
    """Raise `TensorMismatch` unless each gradient has a parameter like it, and both match the state."""
    if not grads:
        raise TensorMismatch("", "a step needs at least one gradient")
    check_shapes(config, state, grads)
    for tensor, g in grads.items():
        _check_gradient(config, state, tensor, g)
        _check_param(config, state, tensor, params.get(tensor), g)
    for tensor in params:
        if tensor not in grads:
            raise TensorMismatch(tensor, "has a parameter and no gradient: omit it, or send its gradient")


def check_shapes(config: Config, state: State, arrays: Arrays) -> None:
    """Raise `TensorMismatch` if a tensor's rule cannot update a tensor of that shape; `arrays` may have new tensors."""
    groups = config.groups_of({**state.entries, **arrays})
    for tensor, array in arrays.items():
        if refusal := refusal_of(config, groups[tensor], tensor, array.shape):
            raise TensorMismatch(tensor, refusal)


def refusal_of(config: Config, group: int | None, tensor: str, shape: Shape) -> str:
    """Return why the tensor's rule cannot update it, and the group to write; or an empty string if it can."""
    refusal = config.rule_of(group).refusal(shape)
    if not refusal:
        return ""
    mending = {"match": [literal(tensor)], "optimizer": OTHER_RULE}
    before = "" if group is None else f" before groups[{group}], which it is in"
    return f"{refusal}: write a group for it{before}, such as {json.dumps(mending, ensure_ascii=False)}"


def _check_gradient(config: Config, state: State, tensor: str, g: Array) -> None:
    entry = state.entries.get(tensor)
    if entry is not None:
        entry.spec.check(tensor, g, "the gradient", config.wire_dtype)
    else:
        check_dtype(tensor, g)


def _check_param(config: Config, state: State, tensor: str, θ: Array | None, g: Array) -> None:
    if config.hold_params and tensor in state.entries and "params" in state.entries[tensor].slots:
        if θ is not None:
            raise TensorMismatch(tensor, ": the session holds this parameter: send only its gradient, or PUT …/params")
    elif θ is None:
        put = ", or PUT …/params first" if config.hold_params else ""
        raise TensorMismatch(tensor, f"has a gradient and no parameter: send its parameter too{put}")
    elif Spec.held(θ, config.wire_dtype) != Spec.held(g, config.wire_dtype):
        raise _unlike(tensor, θ, g, known=tensor in state.entries)


def _unlike(tensor: str, θ: Array, g: Array, *, known: bool) -> TensorMismatch:
    """Return the refusal, with what to convert where only the dtypes differ; a known tensor's gradient is right."""
    ours, theirs = str(Spec.of(g)), str(Spec.of(θ))
    words = f": the parameter is {theirs}, its gradient is {ours}"
    if θ.shape == g.shape and known:
        words += f": convert the parameter to {g.dtype.name}"
    elif θ.shape == g.shape:
        others = [name for name, array in (("parameter", θ), ("gradient", g)) if array.dtype != np.float32]
        words += f": convert the {' and the '.join(others)} to float32"
        if others == ["gradient"]:
            ours, theirs = theirs, ours
    return TensorMismatch(tensor, words, expected=ours, got=theirs)
