"""One optimizer step over named arrays: check → plan → clip → walk.

No input is written to, so a refused step has changed nothing; except by a step in place, which writes the new moments
and held parameters over the old ones. Its results are the same to the bit.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, NoReturn, TypeAlias

import numpy as np

from optim_engine import jobs, sharing, walk
from optim_engine.arrays import Array, Arrays, compute_dtype, rounded
from optim_engine.buffers import BUFFERS
from optim_engine.checks import check
from optim_engine.config import Config
from optim_engine.errors import NonFinite, TensorMismatch
from optim_engine.jobs import Job
from optim_engine.layout import Layout
from optim_engine.machine import ALONE, Machine
from optim_engine.norms import by_name, first_non_finite, is_finite, norm
from optim_engine.outcome import Metrics, Outcome
from optim_engine.overrides import Overridden, overridden
from optim_engine.plan import Plan, plan_of, plan_step, specs_of
from optim_engine.rates import Rates
from optim_engine.reports import Filled, Reports, Touching
from optim_engine.row_plan import Planned, answered, plan_rows
from optim_engine.rows import spread
from optim_engine.run import Run
from optim_engine.state import State
from optim_engine.unscaled import unscaled
from optim_engine.views import Views
from optim_engine.walk import Update, Vectors

Dtypes: TypeAlias = Mapping[str, np.dtype[Any]]
"""Dtypes by the name of a tensor."""

_NO_ROWS: Arrays = {}


class Sent(NamedTuple):
    """The tensors of a step: parameters, gradients as they came, and those to compute with: the same, or those divided
    by `grad_scale` or aggregated, which are in the compute dtype."""

    params: Arrays
    came: Arrays
    grads: Arrays


@np.errstate(all="ignore")
def step(
    config: Config,
    state: State,
    params: Arrays,
    grads: Arrays,
    *,
    lr: float | None = None,
    overrides: Mapping[str, Any] | None = None,
    grad_scale: float = 1.0,
    out: Arrays | None = None,
    filled: Filled | None = None,
    machine: Machine = ALONE,
    in_place: bool = False,
    rows: Arrays = _NO_ROWS,
    dtypes: Dtypes | None = None,
    touching: Touching | None = None,
) -> Outcome:
    """Return the next state, and the new parameters of the tensors in `grads`.

    `params` has their parameters, with the same names, shapes and dtypes, but none that the state holds
    (`config.hold_params`). Tensors that are held as float32 may come in `config.wire_dtype`. `lr` and `overrides` are
    for this step alone (`overridden`). Gradients are divided by `grad_scale` before their values are checked. `rows`
    has the indices of the rows that some gradients are of (`row_plan.py`). `dtypes` says that all gradients are in the
    compute dtype, as an aggregate is, and has the dtypes that they stand for: so they are checked and answered. `out`
    may give contiguous arrays for the new parameters, if the state does not hold them. `machine` selects the kernel and
    threads.

    `filled` and `touching` are told of the next state's bytes (`reports.py`); void, like `out`, if `step` raises. With
    `in_place` the next state may take the memory of the given one, which nobody else may read (`buffers.is_sole`), and
    which is void afterwards, also if `step` raises.

    Raises `TensorMismatch`, `NonFinite` (for a gradient, if `config.on_non_finite` is "reject") and `InvalidConfig`
    (if the learning rate leaves the range of a float, or `overrides` or `grad_scale` is out of range).
    """
    once = overridden(config, overrides, lr)
    planned, sent = _received(once, state, params, grads, rows, dtypes, grad_scale)
    reports = Reports(filled, touching if planned.layout is state.layout else None)
    outcome = _stepped(once, planned, sent, out, reports, machine, in_place or planned.state is not state)
    return replace(outcome, params=answered(planned.plan, outcome.params, rows)) if rows else outcome


def _stepped(
    once: Overridden,
    planned: Planned,
    sent: Sent,
    out: Arrays | None,
    reports: Reports,
    machine: Machine,
    in_place: bool,
) -> Outcome:
    """Return the outcome of a step whose tensors were checked."""
    config, (params, came, grads), (held, state, layout, plan, _) = once.config, sent, planned
    rates = once.learning_rates(state.t + 1)
    dtypes = [_dtype_of(config, run, came) for run in plan.runs]
    gradients = _gathered(plan, grads, dtypes if grads is came else None)
    norm_first = _norm_comes_first(config)
    grad_norm = norm(by_name(grads), jobs.square_sum(gradients, plan, machine)) if norm_first else 0.0
    if not math.isfinite(grad_norm) and (bad := _first_bad(grads)):
        if config.on_non_finite == "reject":
            _refuse(plan, grads, *bad)
        return _skipped(config, held, plan, sent, rates[None], grad_norm)
    scale = config.clip.scale(grad_norm) if config.clip else 1.0
    old, new = _next(state, layout, plan, in_place)
    touched = plan.begin(new.memory, reports)
    θs = [None] * len(plan.runs) if config.hold_params else plan.gathered(params)
    out = None if config.hold_params else out
    todo = [
        _job(config, run, _update(config, run, new, rates, scale), _vectors(run, g, θ, old, new, out), dtype)
        for run, g, θ, dtype in zip(plan.runs, gradients, θs, dtypes, strict=True)
    ]
    todo = sharing.shared(todo, plan, old, new, machine, reports.filled)
    sums = jobs.run(todo, plan, new.memory, machine, reports.filled)
    plan.finish(new.memory, [job.vectors.new for job in todo], reports)
    if not norm_first:
        grad_norm = norm(by_name(grads), sums.gradients)
        if not math.isfinite(grad_norm) and (bad := _first_bad(grads)):
            _refuse(plan, grads, *bad)
    after = _named(plan, [job.answer for job in todo], out)
    metrics = Metrics(rates[None], grad_norm, math.sqrt(sums.change), math.sqrt(sums.params), scale)
    return Outcome(new, _answered(config, after, came), metrics, changes=sums.changes, touched=touched)


@np.errstate(all="ignore")
def examine(
    config: Config,
    state: State,
    grads: Arrays,
    *,
    grad_scale: float = 1.0,
    rows: Arrays = _NO_ROWS,
    machine: Machine = ALONE,
) -> float:
    """Return the norm of gradients that a later step from this state is to take: the `grad_norm` of a step with them.

    Raises what `step` raises for such gradients; one that is not finite is refused whatever `config.on_non_finite` is.
    """
    once = overridden(config, None, None)
    planned, (_, came, divided) = _received(once, state, {}, grads, rows, grad_scale=grad_scale)
    plan = planned.plan
    dtypes = [_dtype_of(config, run, came) for run in plan.runs] if divided is came else None
    total = jobs.square_sum(_gathered(plan, divided, dtypes), plan, machine)
    found = norm(by_name(divided), total)
    if not math.isfinite(found) and (bad := _first_bad(divided)):
        _refuse(plan, divided, *bad)
    return found


def is_refused_early(config: Config, grads: Arrays, grad_scale: float = 1.0) -> bool:
    """Return whether a refusal of a step with these gradients would come before anything is written, also in place."""
    return _norm_comes_first(config) or all(map(is_finite, unscaled(grads, grad_scale).values()))


@np.errstate(all="ignore")
def reapply(
    config: Config,
    state: State,
    params: Arrays,
    grads: Arrays,
    *,
    clip_scale: float,
    lr: float | None = None,
    overrides: Mapping[str, Any] | None = None,
    grad_scale: float = 1.0,
) -> Arrays:
    """Return the new parameters of the step that led to `state` again, to the bit: `apply` without `advance`.

    `config`, `params`, `grads`, `lr`, `overrides` and `grad_scale` are those of the step, and `clip_scale` is from its
    metrics. Held parameters are not computed again, because the state has them. Raises `InvalidConfig` as `step` does.
    """
    once = overridden(config, overrides, lr)
    config, rates = once.config, once.learning_rates(state.t)
    _, plan = plan_step(config, state, grads)
    after = [run.fresh() for run in plan.runs]
    divided = unscaled(grads, grad_scale)
    gradients = _gathered(plan, divided, [run.dtype for run in plan.runs] if divided is grads else None)
    for run, g, θ, target in zip(plan.runs, gradients, plan.gathered(params), after, strict=True):
        moments = run.read(state.memory)
        vectors = Vectors(g, {"params": θ}, {**moments, "params": target})
        for chunk in run.chunks:
            walk.reapply(_update(config, run, state, rates, clip_scale), vectors.of(chunk), chunk)
    return Views(plan.places, after)


def _planned(once: Overridden, state: State, params: Arrays, grads: Arrays, rows: Arrays) -> Planned:
    """Return the plan of the step. Raises `TensorMismatch` unless all tensors fit."""
    config = once.config
    if rows or config.lazy_groups:
        return plan_rows(config, state, params, grads, rows, once.learning_rates(state.t + 1))
    plan = plan_of(config, state, grads)
    if plan and plan.fits(params, grads, hold_params=config.hold_params):
        return Planned(state, state, state.layout, plan, grads)
    check(config, state, params, grads)
    if config.hold_params and params:
        state = state.with_params(params, config.wire_dtype)
    layout, plan = plan_step(config, state, grads)
    plan.checked = specs_of(grads.values())
    return Planned(state, state, layout, plan, grads)


def _received(
    once: Overridden,
    state: State,
    params: Arrays,
    grads: Arrays,
    rows: Arrays,
    dtypes: Dtypes | None = None,
    grad_scale: float = 1.0,
) -> tuple[Planned, Sent]:
    """Return the plan of a step and its tensors, which fit. Raises `TensorMismatch` and `InvalidConfig`."""
    planned = _planned(once, state, params, grads if dtypes is None else _standing_for(grads, dtypes), rows)
    wide = planned.grads if dtypes is None else _like(planned.grads, grads, rows)
    return planned, Sent(params, planned.grads, unscaled(wide, grad_scale))


def _standing_for(grads: Arrays, dtypes: Dtypes) -> Arrays:
    """Return arrays of the gradients' shapes in these dtypes, which take no memory. Raises `TensorMismatch`."""
    for tensor, g in grads.items():
        if g.dtype != (wide := compute_dtype(dtypes[tensor])):
            raise TensorMismatch(tensor, f": its aggregate is {g.dtype.name}: convert it to {wide.name}")
    return {tensor: np.broadcast_to(np.zeros((), dtypes[tensor]), g.shape) for tensor, g in grads.items()}


def _like(planned: Arrays, grads: Arrays, rows: Arrays) -> Arrays:
    """Return the gradients in the shapes of those that are planned: of whole tensors, where those are."""
    return {
        tensor: g if g.shape == like.shape else spread(g, rows[tensor], like.shape)
        for tensor, like in planned.items()
        for g in [grads[tensor]]
    }


def _norm_comes_first(config: Config) -> bool:
    """Return whether the norm of the gradients is needed before anything is computed.

    Otherwise it is computed during the update, which saves a pass over memory; a step that is then refused drops its
    results. A skipped step must not have called `filled`, so it needs the norm first.
    """
    return config.on_non_finite == "skip" or (config.clip is not None and config.clip.global_norm is not None)


def _gathered(plan: Plan, grads: Arrays, dtypes: Sequence[np.dtype[Any]] | None) -> list[Array]:
    """Return the gradients of each run as one vector of that dtype; of the compute dtype if they were divided."""
    dtypes = dtypes or [compute_dtype(run.dtype) for run in plan.runs]
    return [run.gather(grads, dtype) for run, dtype in zip(plan.runs, dtypes, strict=True)]


def _dtype_of(config: Config, run: Run, grads: Arrays) -> np.dtype[Any]:
    """Return the dtype of all gradients of a run; the run's own if only some came in the wire dtype."""
    if not config.wire_dtype:
        return run.dtype
    came = {grads[tensor].dtype for tensor in run.tensors}
    return came.pop() if len(came) == 1 else run.dtype


def _job(config: Config, run: Run, update: Update, vectors: Vectors, dtype: np.dtype[Any]) -> Job:
    """Return the job of a run, whose new parameters are answered in the dtype in which its gradients came."""
    θ = vectors.new["params"]
    return Job(run, update, vectors, θ if dtype == θ.dtype else run.vector(dtype), config.average)


def _update(config: Config, run: Run, new: State, rates: Rates, scale: float) -> Update:
    bound = config.clip.value if config.clip else None
    t, counts = run.count(new.counts)
    return Update(run.rule, run.h, t, rates[run.group], scale, bound, run.shapes[0], counts)


def _vectors(run: Run, g: Array, θ: Array | None, old: State, new: State, out: Arrays | None) -> Vectors:
    before, after = run.read(old.memory), run.targets(new.memory)
    for slot in run.numbers:  # the first block fills them, and the others still read the old ones
        before[slot] = before[slot].copy()
    if θ is not None:  # the state does not hold it
        before["params"], after["params"] = θ, run.fresh(out)
    return Vectors(g, before, after)


def _next(state: State, layout: Layout, plan: Plan, in_place: bool) -> tuple[State, State]:
    """Return the state to read, and the next one to fill, which already has all that the step does not change."""
    if layout is not state.layout:
        state, in_place = state.moved(layout), True
    memory = state.memory if in_place else BUFFERS.take(len(state.memory))
    for start, end in () if in_place else plan.untouched:
        memory[start:end] = state.memory[start:end]
    return state, State(state.t + 1, layout, _counted(state, plan), memory)


def _counted(state: State, plan: Plan) -> Mapping[str, int]:
    """Return all tensors' counts of updates after the step."""
    counts = state.counts
    if plan.count_together and len(counts) == len(plan.tensors) == len(state.entries):
        return dict.fromkeys(counts, counts[plan.tensors[0]] + 1)
    return {**counts, **{tensor: counts.get(tensor, 0) + 1 for tensor in plan.tensors}}


def _first_bad(grads: Arrays) -> tuple[str, tuple[int, ...]] | None:
    """Return the tensor and index of the first element that is not finite, if there is one."""
    for tensor, g in sorted(grads.items()):
        if (index := first_non_finite(g)) is not None:
            return tensor, index
    return None


def _refuse(plan: Plan, grads: Arrays, tensor: str, index: tuple[int, ...]) -> NoReturn:
    raise NonFinite(tensor, plan.index(tensor, index), float(grads[tensor][index]))


def _skipped(config: Config, state: State, plan: Plan, sent: Sent, lr: float, grad_norm: float) -> Outcome:
    """Return the outcome of a skipped step: parameters as they came, which a session that holds them has taken."""
    params, grads, _ = sent
    kept = {tensor: plan.held(state, tensor) if config.hold_params else params[tensor] for tensor in grads}
    metrics = Metrics(lr, grad_norm, 0.0, norm(by_name(kept)), 1.0)
    return Outcome(state, _answered(config, kept, grads), metrics, skipped=True)


def _named(plan: Plan, vectors: Sequence[Array], out: Arrays | None) -> Arrays:
    """Return the parts of the runs' vectors by tensor: views, or if `out` is given, its arrays with the values."""
    views = Views(plan.places, vectors)
    if out is None:
        return views
    for run in plan.runs:
        for tensor in run.tensors if len(run.tensors) > 1 else ():
            out[tensor][...] = views[tensor]
    return {tensor: out[tensor] for tensor in views}


def _answered(config: Config, params: Arrays, grads: Arrays) -> Arrays:
    """Return the parameters, which are in the order of the gradients, in the dtypes of those."""
    if config.wire_dtype is None:
        return params
    return {tensor: rounded(params[tensor], g.dtype) for tensor, g in grads.items()}
