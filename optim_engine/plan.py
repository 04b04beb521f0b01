"""The plan of a step: the tensors that are updated together, and the place of their values in the state's memory.

One call of NumPy costs as much as a thousand additions, so a thousand tensors of a hundred elements are updated as one
vector. Large tensors are not packed, because copying them would cost more than the calls. A plan depends on names,
sizes and settings, not on values: a session makes one at its first step and reuses it.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias, TypeGuard
from weakref import WeakKeyDictionary

import numpy as np

from optim_engine.arrays import Array, Arrays
from optim_engine.config import Config
from optim_engine.layout import Entry, Layout, Spec
from optim_engine.reports import Reports, Touched
from optim_engine.rule import Shape, SharingRule, Unit
from optim_engine.run import Run
from optim_engine.spans import Spans, rest
from optim_engine.state import State
from optim_engine.sums import SMALL
from optim_engine.views import Places, Views

PACK_BELOW = SMALL
"""Elements. Smaller tensors are packed."""
LARGEST_PACK = 1 << 18
"""Elements. A pack that has reached this size takes no more tensors."""
PLANS_KEPT = 8
"""The most plans that are kept for one layout. Steps that name different tensors need one each."""


Specs: TypeAlias = tuple[Sequence[Shape], Sequence[np.dtype[Any]]]
"""The shapes of some arrays, and their dtypes."""


@dataclass
class Plan:
    """The runs of a step, and the ranges of the next state's memory that it does not change.

    A plan does not refer to its layout: plans are kept in a table that is weak in the layout, and must not keep it
    alive.
    """

    tensors: tuple[str, ...]
    """The names of the tensors, in the order of the gradients."""
    count_together: bool
    """True if all tensors have the same count of updates."""
    runs: tuple[Run, ...]
    untouched: tuple[tuple[int, int], ...]
    shared: Mapping[str, Spans]
    """The place of the numbers that a `SharingRule` of the step keeps for tensors that the step does not name."""
    checked: Specs = ((), ())
    """The specs of the gradients that passed the checks last."""

    def fits(self, params: Arrays, grads: Arrays, *, hold_params: bool) -> bool:
        """Return whether a step with these names is like the one that passed the checks last."""
        if not self.checked[0] or not _are_like(grads.values(), self.checked):
            return False
        if hold_params:
            return not params
        return self.answered(params) or (
            params.keys() == grads.keys() and _are_like([params[tensor] for tensor in grads], self.checked)
        )

    def answered(self, params: Arrays) -> TypeGuard[Views]:
        """Return whether the parameters are those of an earlier step, in vectors of this plan's runs."""
        return isinstance(params, Views) and params.places is self.places

    def gathered(self, params: Arrays) -> Sequence[Array]:
        """Return the parameters of each run as one vector."""
        return params.vectors if self.answered(params) else [run.gather(params) for run in self.runs]

    def begin(self, memory: Array, reports: Reports) -> Sequence[Touched]:
        """Report what the step leaves as it is, before it writes; return what it has reported as touched."""
        if reports.filled:
            for start, end in self.untouched:
                reports.filled(memory, start, end)
        return ()

    def finish(self, memory: Array, new: Sequence[Arrays], reports: Reports) -> None:
        """Write what the runs' new vectors, which are filled, leave to be written."""

    def held(self, state: State, tensor: str) -> Array:
        """Return the parameter that a step without updates answers."""
        return state.array(tensor, "params")

    def index(self, tensor: str, index: tuple[int, ...]) -> tuple[int, ...]:
        """Return the index in the tensor of an element of its gradient."""
        return index

    @cached_property
    def size(self) -> int:
        """Return the number of elements."""
        return sum(run.size for run in self.runs)

    @cached_property
    def places(self) -> Places:
        """Return the place of each tensor in the runs' vectors, in the order of the gradients."""
        places = {tensor: (i, part, shape) for i, run in enumerate(self.runs) for tensor, part, shape in run.parts}
        return Places({tensor: places[tensor] for tensor in self.tensors})

    @cached_property
    def by_name(self) -> Array:
        """Return the indices of the tensors of all runs, in the order of their names by UTF-8 bytes."""
        return by_name(self.runs)


def by_name(runs: Iterable[Run]) -> Array:
    """Return the indices of the tensors of some runs, in the order of their names by UTF-8 bytes."""
    names = [tensor for run in runs for tensor in run.tensors]
    return np.array(sorted(range(len(names)), key=names.__getitem__), np.intp)


Key: TypeAlias = tuple[Config, tuple[str, ...], tuple[int, ...]]
"""The settings, the tensors, and the differences between their counts of updates."""
Alike: TypeAlias = tuple[int | None, int, np.dtype[Any]]
"""The properties that tensors of one run share: the group, the count of updates and the dtype."""

_PLANS: WeakKeyDictionary[Layout, dict[Key, Plan]] = WeakKeyDictionary()
"""The plans that were made for a layout. They are dropped with the layout."""
_NONE: Mapping[Key, Plan] = {}


def plan_of(config: Config, state: State, grads: Arrays) -> Plan | None:
    """Return the plan of the step from the state, if one was made. Its tensors are known to the state."""
    differences = () if len(set(state.counts.values())) == 1 else _differences(state.counts, grads)
    return _PLANS.get(state.layout, _NONE).get((config, tuple(grads), differences))


def plan_step(config: Config, state: State, grads: Arrays) -> tuple[Layout, Plan]:
    """Return the layout of the next state, and the plan of the step, whose tensors were checked."""
    plan = plan_of(config, state, grads)
    if plan is not None:
        return state.layout, plan
    layout, plan = _plan(config, state, grads)
    kept = _PLANS.setdefault(layout, {})
    if len(kept) >= PLANS_KEPT:
        kept.clear()
    kept[config, plan.tensors, _differences(state.counts, grads)] = plan
    return layout, plan


def _differences(counts: Mapping[str, int], tensors: Arrays) -> tuple[int, ...]:
    """Return the differences between the tensors' counts and the first one's; nothing if all are equal."""
    of_each = [counts.get(tensor, 0) for tensor in tensors]
    return tuple([count - of_each[0] for count in of_each]) if len(set(of_each)) > 1 else ()


def specs_of(arrays: Collection[Array]) -> Specs:
    """Return the shapes and dtypes of some arrays."""
    return [array.shape for array in arrays], [array.dtype for array in arrays]


def _are_like(arrays: Iterable[Array], specs: Specs) -> bool:
    """Return whether the arrays have these shapes and dtypes. A loop, because lists of a thousand shapes would set off
    the garbage collector."""
    for array, shape, dtype in zip(arrays, *specs, strict=True):
        if array.shape != shape or (array.dtype is not dtype and array.dtype != dtype):
            return False
    return True


def plans_of(layout: Layout) -> list[Plan]:
    """Return the plans that are kept for a layout."""
    return [*_PLANS.get(layout, _NONE).values()]


def names_kept(layout: Layout) -> int:
    """Return the number of tensor names in all plans of a layout."""
    return sum([len(plan.tensors) for plan in _PLANS.get(layout, _NONE).values()])


def _plan(config: Config, state: State, grads: Arrays) -> tuple[Layout, Plan]:
    layout, counts = state.layout, {tensor: state.counts.get(tensor, 0) for tensor in grads}
    specs = {name: layout.entries[name].spec if name in layout.entries else Spec.of(g) for name, g in grads.items()}
    groups = config.groups_of({**layout.entries, **specs})
    units = {group: config.rule_of(group).unit_of(config.hyperparameters_of(group)) for group in set(groups.values())}
    packs = _packs(units, specs, counts, groups)
    stepped: dict[str, Entry] = {}
    for group, tensors in packs:
        stepped |= {tensor: Entry(specs[tensor], config.slots_of(group, specs[tensor].shape)) for tensor in tensors}
    entries = {tensor: entry for tensor, entry in layout.entries.items() if tensor not in stepped} | stepped
    after = layout if entries == layout.entries else Layout(entries)
    runs = tuple(_run(config, after, group, tensors) for group, tensors in packs)
    shared = _shared(after, runs, specs)
    filled = [*(spans for run in runs for spans in run.spans.values()), *shared.values()]
    untouched = tuple(rest((part for spans in filled for part in spans.ranges), after.nbytes))
    return after, Plan(tuple(grads), len(set(counts.values())) == 1, runs, untouched, shared)


def _shared(layout: Layout, runs: Iterable[Run], named: Collection[str]) -> dict[str, Spans]:
    slots = {slot for run in runs if isinstance(run.rule, SharingRule) for slot in run.rule.shared}
    others = {slot: [name for name, entry in layout.entries.items() if slot in entry.slots] for slot in slots}
    kept = {slot: [name for name in names if name not in named] for slot, names in others.items()}
    return {slot: layout.spans(names, slot) for slot, names in kept.items() if names}


def _packs(
    units: Mapping[int | None, Unit],
    specs: Mapping[str, Spec],
    counts: Mapping[str, int],
    groups: Mapping[str, int | None],
) -> list[tuple[int | None, list[str]]]:
    """Return the group and the tensors of each run. The order follows from the names, so sums over runs are the same
    on every machine."""
    packs: dict[tuple[Alike, int | str], list[str]] = {}
    sizes: Counter[Alike] = Counter()
    for tensor in sorted(specs):
        spec = specs[tensor]
        alike: Alike = (groups[tensor], counts[tensor], spec.dtype)
        if units[groups[tensor]] is Unit.BLOCK and spec.size < PACK_BELOW:
            packs.setdefault((alike, sizes[alike] // LARGEST_PACK), []).append(tensor)
            sizes[alike] += spec.size
        else:
            packs[alike, tensor] = [tensor]
    return [(group, tensors) for ((group, _, _), _), tensors in packs.items()]


def _run(config: Config, layout: Layout, group: int | None, tensors: list[str]) -> Run:
    """Return the run of those tensors, which have the same slots."""
    specs = [layout.entries[tensor].spec for tensor in tensors]
    spans = {slot: layout.spans(tensors, slot) for slot in layout.entries[tensors[0]].slots}
    rule, h, shapes = config.rule_of(group), config.hyperparameters_of(group), tuple(spec.shape for spec in specs)
    return Run(tuple(tensors), shapes, specs[0].dtype, group, rule, h, rule.unit_of(h), spans)
