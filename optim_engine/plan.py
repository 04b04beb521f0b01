"""The plan of a step: which tensors are updated together, and where their values stand in the state's memory.

One call of NumPy costs as much as a thousand additions, so a thousand tensors of a hundred elements are updated as one
vector; big ones are left where they are, because copying them would cost more than the calls. A plan depends on names,
sizes and settings, not on values: a session makes one at its first step and uses it ever after.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

import numpy as np

from optim_engine.arrays import Array, Arrays
from optim_engine.config import Config
from optim_engine.layout import Entry, Layout, Spec
from optim_engine.rule import Unit
from optim_engine.run import Run
from optim_engine.spans import rest
from optim_engine.sums import SMALL

PACK_BELOW = SMALL
"""Elements: smaller tensors are packed."""
LARGEST_PACK = 1 << 18
PLANS_KEPT = 8
"""Of one layout: steps that name some of the tensors, now these, now those, need one each."""


@dataclass(frozen=True)
class Plan:
    """The runs of a step, and what it does not touch of the memory of the state that it leads to.

    It does not know that state's layout, which keeps it: each would keep the other.
    """

    runs: tuple[Run, ...]
    untouched: tuple[tuple[int, int], ...]

    @cached_property
    def by_name(self) -> Array:
        """The places of the runs' tensors, one run after the other, in the order of their names by UTF-8 bytes."""
        names = [tensor for run in self.runs for tensor in run.tensors]
        return np.array(sorted(range(len(names)), key=names.__getitem__), np.intp)


Key: TypeAlias = tuple[Config, tuple[str, ...], tuple[int, ...]]
"""The settings, the tensors, and by how much their counts of updates differ."""

_PLANS: WeakKeyDictionary[Layout, dict[Key, Plan]] = WeakKeyDictionary()
"""The plans that were worked out for a layout; they go with it."""
_NONE: Mapping[Key, Plan] = {}


def plan_step(config: Config, layout: Layout, grads: Arrays, counts: Mapping[str, int]) -> tuple[Layout, Plan]:
    """Return the plan of a step from a state of that layout, and the layout of the state that it leads to. `counts` are
    the tensors' updates with this one."""
    first = next(iter(counts.values()))
    key = (config, tuple(counts), tuple([count - first for count in counts.values()]))
    plan = _PLANS.get(layout, _NONE).get(key)
    if plan is None:
        layout, plan = _plan(config, layout, grads, counts)
        kept = _PLANS.setdefault(layout, {})
        if len(kept) >= PLANS_KEPT:
            kept.clear()
        kept[key] = plan
    return layout, plan


def plans_of(layout: Layout) -> list[Plan]:
    """Return the plans that are kept for a layout."""
    return [*_PLANS.get(layout, _NONE).values()]


def names_kept(layout: Layout) -> int:
    """Return how many tensors the plans of a layout name, all together."""
    return sum(len(run.tensors) for plan in plans_of(layout) for run in plan.runs)


def _plan(config: Config, layout: Layout, grads: Arrays, counts: Mapping[str, int]) -> tuple[Layout, Plan]:
    specs = {name: layout.entries[name].spec if name in layout.entries else Spec.of(g) for name, g in grads.items()}
    groups = config.groups_of({**layout.entries, **specs})
    packs = _packs(config.rule.unit, specs, counts, groups)
    stepped: dict[str, Entry] = {}
    for group, tensors in packs:
        stepped |= {tensor: Entry(specs[tensor], config.slots_of(group, specs[tensor].shape)) for tensor in tensors}
    entries = {tensor: entry for tensor, entry in layout.entries.items() if tensor not in stepped} | stepped
    after = layout if entries == layout.entries else Layout(entries)
    runs = tuple(_run(config, after, group, tensors) for group, tensors in packs)
    touched = [part for run in runs for spans in run.spans.values() for part in spans.ranges]
    return after, Plan(runs, tuple(rest(touched, after.nbytes)))


def _packs(
    unit: Unit, specs: Mapping[str, Spec], counts: Mapping[str, int], groups: Mapping[str, int | None]
) -> list[tuple[int | None, list[str]]]:
    """Return each run's group and tensors. The order follows from the names, so that sums over runs come
    out the same anywhere."""
    packs: dict[tuple[Any, ...], list[str]] = {}
    sizes: Counter[tuple[Any, ...]] = Counter()
    for tensor in sorted(specs):
        spec = specs[tensor]
        alike = (groups[tensor], counts[tensor], spec.dtype)
        if unit is Unit.BLOCK and spec.size < PACK_BELOW:
            packs.setdefault((*alike, sizes[alike] // LARGEST_PACK), []).append(tensor)
            sizes[alike] += spec.size
        else:
            packs[*alike, tensor] = [tensor]
    return [(alike[0], tensors) for alike, tensors in packs.items()]


def _run(config: Config, layout: Layout, group: int | None, tensors: list[str]) -> Run:
    """Return the run of those tensors, which have the same slots."""
    specs = [layout.entries[tensor].spec for tensor in tensors]
    spans = {slot: layout.spans(tensors, slot) for slot in layout.entries[tensors[0]].slots}
    h, shapes = config.hyperparameters_of(group), tuple(spec.shape for spec in specs)
    return Run(tuple(tensors), shapes, specs[0].dtype, group, h, config.rule.unit, spans)
