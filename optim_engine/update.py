"""One optimizer step over named arrays: check → clip → schedule → advance → apply, in cache-sized blocks.

    g ← −g       maximize
    g ← c·g      clipped by global norm; or each element held within ±value
    g ← g + λ·θ  weight decay as L2, where it is not decoupled
    then the rule's own equations, and the new θ is rounded once to the parameter's dtype

No input is ever written to. What a step needs is worked out first, so a refused step has changed nothing.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from optim_engine.arrays import Array, Arrays, flat
from optim_engine.buffers import BUFFERS
from optim_engine.checks import check_gradients, check_params
from optim_engine.clipping import clip_scale, clip_values
from optim_engine.config import Clip, Config
from optim_engine.errors import InvalidConfig, NonFinite
from optim_engine.norms import BLOCK, first_non_finite, norm, square_sum
from optim_engine.optimizers import OPTIMIZERS
from optim_engine.runs import Run, blocks, read_slot, runs, scatter
from optim_engine.state import Entry, Layout, Spec, State


@dataclass(frozen=True)
class Metrics:
    """What one step did: the session's learning rate, the norm of the gradients as they came, of the change and of the
    new parameters (of the tensors in the step), and what clipping multiplied the gradients by."""

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


def step(
    config: Config, state: State, params: Arrays, grads: Arrays, *, lr: float | None = None, out: Arrays | None = None
) -> Outcome:
    """The next state and the new parameters of the tensors that `grads` names.

    `params` are their parameters, same names, shapes and dtypes (float64, float32, float16 or bfloat16); of those that
    the state holds (`config.hold_params`) none. `lr` stands in for the scheduled learning rate in this step alone; a
    group with an lr of its own keeps that. `out` may give the arrays that new parameters are written into.

    Raises `TensorMismatch`, `NonFinite` (a gradient, where the configuration says reject), `InvalidConfig` (the
    learning rate left the range of a float).
    """
    check_gradients(state, grads)
    before = check_params(config, state, params, grads)
    number = state.t + 1
    counts = {tensor: state.counts.get(tensor, 0) + 1 for tensor in grads}
    planned = runs(config, counts, grads)
    with np.errstate(all="ignore"):
        grad_norm = norm(run.g for run in planned)
        if not math.isfinite(grad_norm) and (bad := _first_bad(grads)):
            if config.on_non_finite == "reject":
                raise bad
            return _skipped(config, state, before, params, _session_lr(config, number, lr), grad_norm)
        scale = clip_scale(config.clip, grad_norm)
        rates = learning_rates(config, number, lr)
        new = _allocate(config, state, before, counts)
        after = _targets(config, new, before, out)
        sums = [
            _walk(config, run, rates[run.group], scale, state, new, before, after, advancing=True) for run in planned
        ]
    update_norm, param_norm = (math.sqrt(sum(parts)) for parts in zip(*sums, strict=True))
    metrics = Metrics(_session_lr(config, number, lr), grad_norm, update_norm, param_norm, scale)
    return Outcome(new, after, metrics)


def reapply(
    config: Config, state: State, params: Arrays, grads: Arrays, *, clip_scale: float, lr: float | None = None
) -> dict[str, Array]:
    """The new parameters of the step that led to `state`, once more and to the bit: `apply` without `advance`.

    `config`, `params`, `grads` and `lr` are what the step had, `clip_scale` what it found. Not for held parameters:
    those are in the state.
    """
    rates = learning_rates(config, state.t, lr)
    after = _targets(config, state, params, None)
    with np.errstate(all="ignore"):
        for run in runs(config, state.counts, grads):
            _walk(config, run, rates[run.group], clip_scale, state, state, params, after, advancing=False)
    return after


def learning_rates(config: Config, number: int, lr: float | None) -> Mapping[int | None, float]:
    """The learning rate of each group (`None` is no group) at the step of that number."""
    factor = config.schedule.factor(number) if config.schedule else 1.0
    rates: dict[int | None, float] = {None: _session_lr(config, number, lr)}
    for i, group in enumerate(config.groups):
        rates[i] = config.hyperparameters_of(i).lr * factor if "lr" in group.overrides else rates[None]
    if bad := [rate for rate in rates.values() if not math.isfinite(rate)]:
        raise InvalidConfig("schedule", f"makes the learning rate {bad[0]} at step {number}; change the schedule or lr")
    return rates


def _session_lr(config: Config, number: int, lr: float | None) -> float:
    if lr is not None:
        return lr
    return config.hyperparameters.lr * (config.schedule.factor(number) if config.schedule else 1.0)


def _first_bad(grads: Arrays) -> NonFinite | None:
    for tensor, g in grads.items():
        if (index := first_non_finite(g)) is not None:
            return NonFinite(tensor, index, float(g[index]))
    return None


def _skipped(config: Config, state: State, before: Arrays, params: Arrays, lr: float, grad_norm: float) -> Outcome:
    """The parameters as they came, nothing moved; a session that holds parameters holds those that came with it."""
    kept = state.with_params(params) if config.hold_params and params else state
    param_norm = norm(flat(θ) for θ in before.values())
    return Outcome(kept, dict(before), Metrics(lr, grad_norm, 0.0, param_norm, 1.0), skipped=True)


def _allocate(config: Config, state: State, before: Arrays, counts: Mapping[str, int]) -> State:
    """The next state, with what the step does not touch already in it."""
    rule = OPTIMIZERS[config.optimizer]
    entries = dict(state.entries)
    for tensor in sorted(before):
        h = config.hyperparameters_of(config.group_of(tensor))
        slots = [*rule.init(h), *(["params"] if config.hold_params else [])]
        entry = entries.get(tensor, Entry(Spec.of(before[tensor]), ()))
        entries[tensor] = entry.keeping(slots)
    layout = state.layout if entries == state.entries else Layout(entries)
    new = State.allocate(state.t + 1, layout, {**state.counts, **counts})
    if len(counts) < len(state.entries):
        new.carry(state, without=frozenset(counts))
    return new


def _targets(config: Config, new: State, before: Arrays, out: Arrays | None) -> dict[str, Array]:
    """The arrays that the new parameters are written into."""
    if config.hold_params:
        return {tensor: new.array(tensor, "params") for tensor in before}
    if out is not None:
        return {tensor: out[tensor] for tensor in before}
    return {tensor: BUFFERS.take(θ.nbytes).view(θ.dtype).reshape(θ.shape) for tensor, θ in before.items()}


def _walk(
    config: Config,
    run: Run,
    γ: float,
    scale: float,
    old: State,
    new: State,
    before: Arrays,
    after: Arrays,
    *,
    advancing: bool,
) -> tuple[float, float]:
    """Update one run, block by block; the sums of squares of the change and of the new parameters."""
    rule = OPTIMIZERS[config.optimizer]
    h, first = run.h, run.tensors[0]
    dtype = Spec.of(before[first]).compute_dtype
    packed = len(run.tensors) > 1
    θ_all = np.concatenate([flat(before[tensor]) for tensor in run.tensors]) if packed else flat(before[first])
    out_all = np.empty_like(θ_all) if packed else after[first].reshape(-1, copy=False)
    slots = rule.init(h)
    fresh = advancing and run.t == 1
    reads = {} if fresh else {slot: read_slot(old, run.tensors, slot) for slot in slots}
    in_place = {slot: not packed or new.layout.adjacent(run.tensors, slot) for slot in slots} if advancing else {}
    writes = {
        slot: new.run(run.tensors, slot) if placed else np.empty(len(θ_all), dtype) for slot, placed in in_place.items()
    }
    width = min(len(θ_all), BLOCK)
    tmp, wide_g, wide_θ, result, zeros = (np.empty(width, dtype) for _ in range(5))
    zeros[:] = 0
    changed = parameters = 0.0
    for part in blocks(len(θ_all), BLOCK):
        n = part.stop - part.start
        θ = _widened(θ_all[part], wide_θ[:n])
        g = _effective(config.clip, scale, h.maximize, run.g[part], wide_g[:n])
        if h.weight_decay and not h.decoupled:
            np.multiply(θ, h.weight_decay, out=tmp[:n])
            g = np.add(g, tmp[:n], out=wide_g[:n])
        moments = {slot: vector[part] for slot, vector in (writes if advancing else reads).items()}
        if advancing:
            earlier = dict.fromkeys(slots, zeros[:n]) if fresh else {s: v[part] for s, v in reads.items()}
            rule.advance(h, run.t, g, earlier, moments, tmp[:n])
        rule.apply(h, run.t, γ, θ, g, moments, result[:n], tmp[:n])
        out_all[part] = result[:n]
        if advancing:
            parameters += square_sum(result[:n], tmp[:n])
            changed += square_sum(np.subtract(result[:n], θ, out=result[:n]), tmp[:n])
    if packed:
        scatter(out_all, (after[tensor] for tensor in run.tensors))
        for slot, vector in writes.items():
            if not in_place[slot]:
                scatter(vector, (new.vector(tensor, slot) for tensor in run.tensors))
    return changed, parameters


def _widened(x: Array, wide: Array) -> Array:
    """The block in the compute dtype: itself where it is in that already."""
    if x.dtype == wide.dtype:
        return x
    wide[...] = x
    return wide


def _effective(clip: Clip | None, scale: float, maximize: bool, g: Array, wide: Array) -> Array:
    """The gradient that the rule sees, before weight decay."""
    g = _widened(g, wide)
    if maximize:
        g = np.negative(g, out=wide)
    if scale != 1.0:
        g = np.multiply(g, scale, out=wide)
    if clip is not None and clip.value is not None:
        g = clip_values(clip, g, out=wide)
    return g
