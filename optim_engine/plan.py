"""The plan of a step: which tensors are updated together, and where their values stand in the state's memory.

One call of NumPy costs as much as a thousand additions, so a thousand tensors of a hundred elements are updated as one
vector; big ones are left where they are, because copying them would cost more than the calls. A plan depends on names,
sizes and settings, not on values: a session makes one at its first step and uses it ever after.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import prod
from operator import itemgetter
from typing import Any

import numpy as np

from optim_engine.arrays import Array, Arrays, flat
from optim_engine.buffers import BUFFERS
from optim_engine.config import Config
from optim_engine.hyperparameters import Hyperparameters
from optim_engine.layout import Entry, Layout, Spec
from optim_engine.optimizers import OPTIMIZERS
from optim_engine.places import Places, rest
from optim_engine.sums import SMALL, Chunk, chunks_of

PACK_BELOW = SMALL
"""Elements: smaller tensors are packed."""
LARGEST_PACK = 1 << 18
PLANS_KEPT = 8
"""Of one layout: steps that name some of the tensors, now these, now those, need one each."""


@dataclass(frozen=True)
class Run:
    """A big tensor, or a pack of small ones: of one group, one count of updates and one dtype."""

    tensors: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    dtype: np.dtype[Any]
    group: int | None
    h: Hyperparameters
    places: Mapping[str, Places]
    """By slot, where the tensors' values stand in the state's memory."""

    @cached_property
    def size(self) -> int:
        """Elements."""
        return sum(prod(shape) for shape in self.shapes)

    def gather(self, arrays: Arrays, dtype: np.dtype[Any] | None = None) -> Array:
        """The tensors' arrays as one vector: a view of a single one, if its memory allows that; several in the run's
        dtype, or another that they are in."""
        if len(self.tensors) == 1:
            return flat(arrays[self.tensors[0]])
        return np.concatenate(self._of_all(arrays), axis=None, out=self.vector(dtype or self.dtype))

    def read(self, memory: Array) -> dict[str, Array]:
        """By slot, what a state's memory has for the tensors, as a vector to read."""
        return {slot: places.read(memory) for slot, places in self.places.items()}

    def targets(self, memory: Array) -> dict[str, Array]:
        """By slot, a vector to be filled and then given to `write`."""
        return {slot: places.target(memory) for slot, places in self.places.items()}

    def write(self, memory: Array, targets: Arrays) -> None:
        """Bring filled targets to where they stand in the memory, if they are not views of it."""
        for slot, places in self.places.items():
            places.write(memory, targets[slot])

    @cached_property
    def chunks(self) -> list[Chunk]:
        """The parts that are computed one by one. A pack is one, for its values may have to be brought to their places
        when it is filled."""
        return chunks_of([prod(shape) for shape in self.shapes])

    def ranges_of(self, part: slice) -> Iterator[tuple[int, int]]:
        """The bytes of the state's memory that a part of the run stands in, in all slots."""
        for places in self.places.values():
            yield from places.ranges_of(part)

    def fresh(self, out: Arrays | None = None) -> Array:
        """A vector for new parameters: a single tensor's is its array of `out`, if that is given."""
        if out is not None and len(self.tensors) == 1:
            return out[self.tensors[0]].reshape(-1, copy=False)
        return self.vector(self.dtype)

    def vector(self, dtype: np.dtype[Any]) -> Array:
        """One with whatever content."""
        return BUFFERS.take(self.size * dtype.itemsize).view(dtype)

    def named(self, vector: Array, out: Arrays | None = None) -> dict[str, Array]:
        """The filled vector taken apart: views of it by tensor, or the arrays of `out` with the values in them."""
        parts = {
            tensor: vector[part] if len(shape) == 1 else vector[part].reshape(shape)
            for tensor, part, shape in self._parts
        }
        if out is None:
            return parts
        if len(parts) > 1:
            for tensor, part in parts.items():
                out[tensor][...] = part
        return {tensor: out[tensor] for tensor in parts}

    @cached_property
    def _of_all(self) -> Callable[[Arrays], tuple[Array, ...]]:
        return itemgetter(*self.tensors)

    @cached_property
    def _parts(self) -> list[tuple[str, slice, tuple[int, ...]]]:
        ends = list(accumulate(prod(shape) for shape in self.shapes))
        return list(zip(self.tensors, map(slice, [0, *ends[:-1]], ends), self.shapes, strict=True))


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


def plan_step(config: Config, layout: Layout, grads: Arrays, counts: Mapping[str, int]) -> tuple[Layout, Plan]:
    """The plan of a step from a state of that layout, and the layout of the state that it leads to. `counts` are the
    tensors' updates with this one."""
    first = next(iter(counts.values()))
    key = (config, tuple(counts), tuple([count - first for count in counts.values()]))
    plan: Plan | None = layout.plans.get(key)
    if plan is None:
        layout, plan = _plan(config, layout, grads, counts)
        if len(layout.plans) >= PLANS_KEPT:
            layout.plans.clear()
        layout.plans[key] = plan
    return layout, plan


def _plan(config: Config, layout: Layout, grads: Arrays, counts: Mapping[str, int]) -> tuple[Layout, Plan]:
    specs = {name: layout.entries[name].spec if name in layout.entries else Spec.of(g) for name, g in grads.items()}
    groups = config.groups_of({**layout.entries, **specs})
    packs = _packs(specs, counts, groups)
    stepped: dict[str, Entry] = {}
    for group, tensors in packs:
        slots = _slots(config, group)
        stepped |= {tensor: Entry(specs[tensor], slots) for tensor in tensors}
    entries = {tensor: entry for tensor, entry in layout.entries.items() if tensor not in stepped} | stepped
    after = layout if entries == layout.entries else Layout(entries)
    runs = tuple(_run(config, after, group, tensors) for group, tensors in packs)
    touched = [part for run in runs for places in run.places.values() for part in places.ranges]
    return after, Plan(runs, tuple(rest(touched, after.nbytes)))


def _packs(
    specs: Mapping[str, Spec], counts: Mapping[str, int], groups: Mapping[str, int | None]
) -> list[tuple[int | None, list[str]]]:
    """Each run's group and tensors. The order follows from the names: sums over runs come out the same anywhere."""
    packs: dict[tuple[Any, ...], list[str]] = {}
    sizes: Counter[tuple[Any, ...]] = Counter()
    for tensor in sorted(specs):
        spec = specs[tensor]
        alike = (groups[tensor], counts[tensor], spec.dtype)
        if spec.size < PACK_BELOW:
            packs.setdefault((*alike, sizes[alike] // LARGEST_PACK), []).append(tensor)
            sizes[alike] += spec.size
        else:
            packs[*alike, tensor] = [tensor]
    return [(alike[0], tensors) for alike, tensors in packs.items()]


def _slots(config: Config, group: int | None) -> tuple[str, ...]:
    moments = OPTIMIZERS[config.optimizer].init(config.hyperparameters_of(group))
    return (*moments, "params") if config.hold_params else moments


def _run(config: Config, layout: Layout, group: int | None, tensors: list[str]) -> Run:
    specs = [layout.entries[tensor].spec for tensor in tensors]
    places = {slot: layout.places(tensors, slot) for slot in _slots(config, group)}
    h = config.hyperparameters_of(group)
    return Run(tuple(tensors), tuple(spec.shape for spec in specs), specs[0].dtype, group, h, places)
