"""One optimizer step over named arrays: check → plan → clip → walk.

No input is ever written to. What a step needs is worked out first, so a refused step has changed nothing.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import numpy as np

from optim_engine import walk
from optim_engine.arrays import Array, Arrays, flat
from optim_engine.buffers import BUFFERS
from optim_engine.checks import check
from optim_engine.config import Config
from optim_engine.errors import NonFinite
from optim_engine.norms import first_non_finite, norm
from optim_engine.optimizers import OPTIMIZERS
from optim_engine.plan import Plan, Run, plan_step
from optim_engine.state import State
from optim_engine.walk import Update, Vectors

Filled: TypeAlias = Callable[[Array, int, int], None]
"""Called as `filled(memory, start, end)` when those bytes of the next state's memory have their final values."""


@dataclass(frozen=True)
class Metrics:
    """What one step did: the session's learning rate, the norm of the gradients as they came, of the change and of the
    new parameters (of the tensors in the step, before rounding), and what clipping multiplied the gradients by."""

    lr: float
    grad_norm: float
    update_norm: float
    param_norm: float
    clip_scale: float


@dataclass(frozen=True)
class Outcome:
    """What a step leads to. `params` has the tensors of the step; a skipped one leaves `state.t` as it was."""

    state: State
    params: dict[str, Array]
    metrics: Metrics
    skipped: bool = False


@np.errstate(all="ignore")
def step(
    config: Config,
    state: State,
    params: Arrays,
    grads: Arrays,
    *,
    lr: float | None = None,
    out: Arrays | None = None,
    filled: Filled | None = None,
) -> Outcome:
    """The next state and the new parameters of the tensors that `grads` names.

    `params` are their parameters, same names, shapes and dtypes (float64, float32, float16 or bfloat16); of those that
    the state holds (`config.hold_params`) none. `lr` stands in for the scheduled learning rate in this step alone; a
    group with an lr of its own keeps that. `out` may give the contiguous arrays that new parameters are written into,
    where the state does not hold them.

    `filled` is told of every byte of the next state's memory once, in ranges of about 1 MiB in any order, so that they
    can leave while the next ones are computed; possibly from several threads at once. A skipped step tells nothing, and
    where `step` raises, what was told is void.

    Raises `TensorMismatch`, `NonFinite` (a gradient, where the configuration says reject), `InvalidConfig` (the
    learning rate left the range of a float).
    """
    check(config, state, params, grads)
    rates = config.learning_rates(state.t + 1, lr)
    if config.hold_params:
        state, out = state.with_params(params) if params else state, None
    counts = {tensor: state.counts.get(tensor, 0) + 1 for tensor in grads}
    plan = plan_step(config, state.layout, grads, counts)
    gradients = [run.gather(grads) for run in plan.runs]
    grad_norm = norm(gradients)
    if not math.isfinite(grad_norm) and (bad := _first_bad(grads)):
        if config.on_non_finite == "reject":
            raise bad
        return _skipped(config, state, params, grads, rates[None], grad_norm)
    scale = config.clip.scale(grad_norm) if config.clip else 1.0
    old, new = _next(state, plan, counts)
    tell = partial(filled, new.memory) if filled else _nobody
    for start, end in plan.untouched:
        tell(start, end)
    after: dict[str, Array] = {}
    changed = parameters = 0.0
    for run, g in zip(plan.runs, gradients, strict=True):
        before, target = run.read(old.memory), run.targets(new.memory)
        if not config.hold_params:
            before["params"], target["params"] = run.gather(params), run.fresh(out)
        update, vectors = _update(config, run, new, rates, scale), Vectors(g, before, target)
        for chunk in run.chunks():
            sums = walk.advance(update, vectors.of(chunk))
            changed, parameters = changed + sums[0], parameters + sums[1]
            run.write(new.memory, target)
            for start, end in run.ranges_of(chunk):
                tell(start, end)
        after.update(run.named(target["params"], out))
    metrics = Metrics(rates[None], grad_norm, math.sqrt(changed), math.sqrt(parameters), scale)
    return Outcome(new, {tensor: after[tensor] for tensor in grads}, metrics)


@np.errstate(all="ignore")
def reapply(
    config: Config, state: State, params: Arrays, grads: Arrays, *, clip_scale: float, lr: float | None = None
) -> dict[str, Array]:
    """The new parameters of the step that led to `state`, once more and to the bit: `apply` without `advance`.

    `config`, `params`, `grads` and `lr` are what the step had, `clip_scale` what it found. Not for held parameters:
    those are in the state.
    """
    rates = config.learning_rates(state.t, lr)
    plan = plan_step(config, state.layout, grads, {tensor: state.counts[tensor] for tensor in grads})
    after: dict[str, Array] = {}
    for run in plan.runs:
        moments, target = run.read(state.memory), run.fresh()
        vectors = Vectors(run.gather(grads), {"params": run.gather(params)}, {**moments, "params": target})
        walk.reapply(_update(config, run, state, rates, clip_scale), vectors)
        after.update(run.named(target))
    return {tensor: after[tensor] for tensor in grads}


def _update(config: Config, run: Run, new: State, rates: Mapping[int | None, float], scale: float) -> Update:
    rule, t = OPTIMIZERS[config.optimizer], new.counts[run.tensors[0]]
    return Update(rule, run.h, t, rates[run.group], scale, config.clip.value if config.clip else None)


def _next(state: State, plan: Plan, counts: Mapping[str, int]) -> tuple[State, State]:
    """The state to read from, and the next one, to be filled: what the step does not touch is in it already."""
    t, counts = state.t + 1, {**state.counts, **counts}
    if plan.layout is not state.layout:
        moved = replace(state.moved(plan.layout), t=t, counts=counts)
        return moved, moved
    memory = BUFFERS.take(len(state.memory))
    for start, end in plan.untouched:
        memory[start:end] = state.memory[start:end]
    return state, State(t, state.layout, counts, memory)


def _nobody(start: int, end: int) -> None:
    """Told of what is filled where nobody wants to know."""


def _first_bad(grads: Arrays) -> NonFinite | None:
    for tensor, g in sorted(grads.items()):
        if (index := first_non_finite(g)) is not None:
            return NonFinite(tensor, index, float(g[index]))
    return None


def _skipped(config: Config, state: State, params: Arrays, grads: Arrays, lr: float, grad_norm: float) -> Outcome:
    """The parameters as they came, nothing moved; a session that holds parameters holds those that came with it."""
    kept = {tensor: state.array(tensor, "params") if config.hold_params else params[tensor] for tensor in grads}
    return Outcome(state, kept, Metrics(lr, grad_norm, 0.0, norm([flat(θ) for θ in kept.values()]), 1.0), skipped=True)
