"""A run of some rows of one tensor, whose other rows keep their moments and their counts."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Self

import numpy as np

from optim_engine import decay, lazy
from optim_engine.arrays import Array, Arrays
from optim_engine.buffers import BUFFERS
from optim_engine.config import Config
from optim_engine.decay import caught_up
from optim_engine.layout import Layout
from optim_engine.reports import Touched
from optim_engine.rows import Rows, table_of
from optim_engine.rule import Shape
from optim_engine.run import Run
from optim_engine.state import State

INDEX = "t"
"""The vector beside the slots that has the index of each element's count among the different ones."""


@dataclass(frozen=True)
class RowRun(Run):
    """The rows of one tensor that a step names, as one vector for each slot of the rule, and for the parameter with its
    decay caught up."""

    rows: Rows
    starts: Mapping[str, tuple[int, np.dtype[Any], Shape]]
    """The first byte of each slot in the state's memory, its dtype and its shape."""
    counts: tuple[int, ...]
    """The rows' different counts of updates after the step."""
    index: Array | None
    """The index of each row's count, where they differ."""

    @classmethod
    def of(cls, config: Config, state: State, layout: Layout, tensor: str, rows: Rows | None) -> Self:
        """Return the run of those rows of a tensor that the state has; `None` stands for all, as a whole tensor."""
        entry, group = layout.entries[tensor], config.group_of(tensor)
        spec, h = entry.spec, config.hyperparameters_of(group)
        shapes = spec.shape if rows is None else (rows.count, *spec.shape[1:])
        rows = rows or Rows.all(*(spec.shape[:1] or (1,)))
        starts = {
            slot: (layout.offsets[tensor, slot], entry.dtype_of(slot), entry.shape_of(slot)) for slot in entry.slots
        }
        counts, index = _counts(rows.take(state.array(tensor, "row_steps").reshape(-1)))
        rule = config.rule_of(group)
        unit = rule.unit_of(h)
        return cls((tensor,), (shapes,), spec.dtype, group, rule, h, unit, {}, rows, starts, counts, index)

    def count(self, counts: Mapping[str, int]) -> tuple[int, tuple[int, ...]]:
        largest = self.counts[-1] if self.counts else 1
        return largest, () if self.index is None else self.counts

    def read(self, memory: Array) -> dict[str, Array]:
        vectors = {slot: self._rows(memory, slot).reshape(-1) for slot in self._slots}
        if "row_decay" in self.starts:
            total, sums = self._table(memory, "decay").reshape(-1), self._rows(memory, "row_decay")
            vectors["params"] = caught_up(vectors["params"], total, sums)
        if self.index is not None:
            vectors[INDEX] = np.repeat(self.index, self.size // max(self.rows.count, 1))
        return vectors

    def targets(self, memory: Array) -> dict[str, Array]:
        if self.rows.adjacent:
            return {slot: self._rows(memory, slot).reshape(-1) for slot in self._slots}
        dtypes = {slot: self.starts[slot][1] for slot in self._slots}
        return {slot: BUFFERS.take(self.size * dtype.itemsize).view(dtype) for slot, dtype in dtypes.items()}

    def write(self, memory: Array, targets: Arrays) -> None:
        """Do nothing: `finish` writes the rows, when all chunks are filled."""

    def ranges_of(self, part: slice) -> Iterator[tuple[int, int]]:
        """Yield nothing: `touched` tells the bytes that are written."""
        yield from ()

    def finish(self, memory: Array, targets: Arrays, γ: float) -> None:
        """Write filled targets into the memory, and each row's count and the decay that it has taken."""
        if not self.rows.adjacent:
            for slot in self._slots:
                table = self._table(memory, slot)
                self.rows.write(targets[slot].reshape(self.rows.count, table.shape[1]), table)
        steps = self._table(memory, "row_steps")
        self.rows.write(self.rows.take(steps) + 1, steps)
        if "row_decay" in self.starts:
            total = self._table(memory, "decay")
            if self.h.decoupled:
                total[...] = decay.added(total[:, 0], γ * self.h.weight_decay)[:, None]
            self.rows.write(total[:, 0], self._table(memory, "row_decay"))

    def touched(self) -> Iterator[Touched]:
        """Yield the bytes of the memory that the step changes."""
        for slot, (start, dtype, shape) in self.starts.items():
            if slot == "decay":
                yield Touched(np.array([start]), 2 * dtype.itemsize)
            else:
                yield self.rows.ranges(start, dtype.itemsize * prod(shape[1:]))

    @property
    def _slots(self) -> list[str]:
        """Return the rule's slots and `params`."""
        return [slot for slot in self.starts if slot not in _LAZY]

    def _rows(self, memory: Array, slot: str) -> Array:
        return self.rows.take(self._table(memory, slot))

    def _table(self, memory: Array, slot: str) -> Array:
        return table_of(memory, *self.starts[slot])


_LAZY = frozenset(slot.name for slot in lazy.SLOTS)


def _counts(before: Array) -> tuple[tuple[int, ...], Array | None]:
    """Return the different counts after one more update, and the index among them for each row if there are several."""
    if not len(before) or (before == before[0]).all():
        return tuple((before[:1] + 1).tolist()), None
    distinct, index = np.unique(before, return_inverse=True)
    return tuple((distinct + 1).tolist()), index.astype(np.intp)
