"""The plan of a step that names rows, or a tensor whose rows are lazy.

A tensor whose rows are dense is updated like any other, by a gradient with zeros in the other rows. Lazy ones are
updated row by row, and only their rows are read and written.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from optim_engine import lazy
from optim_engine.arrays import Array, Arrays
from optim_engine.checks import check
from optim_engine.config import Config
from optim_engine.errors import InvalidConfig, TensorMismatch
from optim_engine.layout import Entry, Layout
from optim_engine.plan import Plan, plan_step
from optim_engine.rates import Rates
from optim_engine.reports import Reports, Touched
from optim_engine.row_runs import RowRun
from optim_engine.rows import Rows, check_rows, check_values, spread
from optim_engine.rule import Shape
from optim_engine.state import State


@dataclass
class RowPlan(Plan):
    """A plan in which some runs are of rows; its `untouched` ranges include the tensors of those."""

    rates: Rates = field(default_factory=dict)

    def begin(self, memory: Array, reports: Reports) -> Sequence[Touched]:
        if not reports.touching:
            return ()
        touched = [part for run in self._row_runs for part in run.touched()]
        reports.touching(memory, touched)
        return touched

    def finish(self, memory: Array, new: Sequence[Arrays], reports: Reports) -> None:
        for run, vectors in zip(self.runs, new, strict=True):
            if isinstance(run, RowRun):
                run.finish(memory, vectors, self.rates[run.group])
        if not reports.touching:
            super().begin(memory, reports)

    def held(self, state: State, tensor: str) -> Array:
        for run in self._row_runs:
            if tensor in run.tensors:
                whole = run.shapes[0] == state.entries[tensor].spec.shape
                return state.caught_up(tensor) if whole else state.caught_up(tensor, run.rows.take)
        return super().held(state, tensor)

    def index(self, tensor: str, index: tuple[int, ...]) -> tuple[int, ...]:
        runs = [run for run in self._row_runs if tensor in run.tensors]
        return (runs[0].rows.index(index[0]), *index[1:]) if runs and index else index

    @property
    def _row_runs(self) -> Iterator[RowRun]:
        return (run for run in self.runs if isinstance(run, RowRun))


class Planned(NamedTuple):
    """A step whose tensors were checked: the state with the parameters that it is to hold, which a skipped step leaves,
    the same with the slots of lazy rows, the layout of the next one, the plan, and the gradients, those of dense rows
    with zeros in the others."""

    held: State
    state: State
    layout: Layout
    plan: Plan
    grads: Arrays


class Fit(NamedTuple):
    """The tensors of a step that passed all checks: a next one of the same layout with such tensors passes them too."""

    config: Config
    specs: list[tuple[str, np.dtype[Any], Shape, bool]]
    """Each gradient's name, dtype and shape; of rows, the shape of one and true."""
    shapes: Mapping[str, Shape]
    """The shape of each tensor with rows."""
    lazily: Sequence[str]
    """The names of the tensors whose rows are lazy, in order."""


_FITS: WeakKeyDictionary[Layout, Fit] = WeakKeyDictionary()
"""The last fit of a layout. It is dropped with the layout."""


def plan_rows(config: Config, state: State, params: Arrays, grads: Arrays, rows: Arrays, rates: Rates) -> Planned:
    """Return the plan of a step; `rows` has the indices of the rows that some gradients are of.

    Raises `TensorMismatch` unless all tensors fit and their rules take rows, and `InvalidConfig` if the decay of lazy
    rows at those learning rates cannot be caught up.
    """
    held, state, (_, _, shapes, lazily) = _fitted(config, state, params, grads, rows)
    whole = {tensor: g for tensor, g in grads.items() if tensor not in lazily}
    whole |= {tensor: spread(grads[tensor], rows[tensor], shapes[tensor]) for tensor in rows if tensor in whole}
    grads = {**grads, **whole}
    layout, plan = plan_step(config, state, whole)
    if not lazily:
        return Planned(held, state, layout, plan, grads)
    runs = [
        RowRun.of(config, state, layout, tensor, Rows.of(rows[tensor]) if tensor in rows else None) for tensor in lazily
    ]
    for run in runs:
        if refusal := lazy.refusal_of_rate(run.h, rates[run.group]):
            raise InvalidConfig("lr", refusal)
    return Planned(
        held,
        state,
        layout,
        RowPlan(tuple(grads), False, (*plan.runs, *runs), plan.untouched, plan.shared, rates=rates),
        grads,
    )


def answered(plan: Plan, params: Arrays, rows: Arrays) -> Arrays:
    """Return the parameters of a step with only the named rows of each tensor."""
    whole = {tensor for run in plan.runs if not isinstance(run, RowRun) for tensor in run.tensors}
    return {
        tensor: Rows.of(rows[tensor]).take(array) if tensor in rows and tensor in whole else array
        for tensor, array in params.items()
    }


def _fitted(config: Config, state: State, params: Arrays, grads: Arrays, rows: Arrays) -> tuple[State, State, Fit]:
    """Return the state with the parameters that it is to hold, the same with the slots of lazy rows, and the fit of the
    step, whose tensors are checked: their specs only if they are not those of the step before."""
    specs = [
        (name, g.dtype, g.shape[1:], True) if name in rows else (name, g.dtype, g.shape, False)
        for name, g in grads.items()
    ]
    fit = _FITS.get(state.layout)
    if fit and not params and fit.config is config and fit.specs == specs and len(fit.shapes) == len(rows):
        for tensor, indices in rows.items():
            check_rows(tensor, indices, fit.shapes[tensor])
            check_values(tensor, grads[tensor], indices, fit.shapes[tensor])
        return state, state, fit
    shapes = _checked(config, state, params, grads, rows)
    held = state.with_params(params, config.wire_dtype) if config.hold_params and params else state
    groups = config.groups_of({**held.entries, **grads})
    lazily = sorted(tensor for tensor in grads if groups[tensor] in config.lazy_groups)
    begun = _begun(config, held, lazily, groups)
    fit = Fit(config, specs, shapes, lazily)
    if begun is state:
        _FITS[state.layout] = fit
    return held, begun, fit


def _checked(config: Config, state: State, params: Arrays, grads: Arrays, rows: Arrays) -> Mapping[str, Shape]:
    """Return the shapes of the tensors in `rows`; check all tensors."""
    whole = dict(grads)
    for tensor, indices in rows.items():
        if tensor not in grads:
            raise TensorMismatch(tensor, "has rows and no gradient: send the gradient of these rows")
        shape = _shape_of(config, state, params, tensor)
        check_rows(tensor, indices, shape)
        check_values(tensor, grads[tensor], indices, shape)
        whole[tensor] = np.broadcast_to(np.zeros((), grads[tensor].dtype), shape)
    check(config, state, params, whole)
    groups = config.groups_of({**state.entries, **whole})
    for tensor in rows:
        group = groups[tensor]
        if refusal := config.rule_of(group).refuses_rows(config.hyperparameters_of(group)):
            raise TensorMismatch(tensor, f"is updated by {config.optimizer_of(group)}, which {refusal}")
    return {tensor: whole[tensor].shape for tensor in rows}


def _shape_of(config: Config, state: State, params: Arrays, tensor: str) -> Shape:
    if not config.hold_params:
        words = "has rows, and the session does not hold its parameter: create one with `hold_params`, or send all rows"
        raise TensorMismatch(tensor, words)
    if tensor in params:
        return params[tensor].shape
    if tensor not in state.entries:
        raise TensorMismatch(tensor, "has rows and is not known: send its whole parameter too, or PUT …/params first")
    return state.entries[tensor].spec.shape


def _begun(config: Config, state: State, tensors: Collection[str], groups: Mapping[str, int | None]) -> State:
    """Return the state with the slots of these tensors, whose rows are lazy. Rows that had no count of their own get
    the tensor's."""
    entries = {
        tensor: Entry(state.entries[tensor].spec, config.slots_of(groups[tensor], state.entries[tensor].spec.shape))
        for tensor in tensors
    }
    if entries.items() <= state.entries.items():
        return state
    new = state.moved(Layout({**state.entries, **entries}))
    for tensor in tensors:
        if lazy.ROW_STEPS.name not in state.entries[tensor].slots:
            new.array(tensor, lazy.ROW_STEPS.name)[...] = state.counts[tensor]
    return new
