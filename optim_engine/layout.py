"""Where a state's values stand in its memory: all `m` first, then all `v`, and so on.

Within a slot, tensors stand in the order of the entries. So a state is stored, sent and checked as plain bytes, and
neighbours are updated as one vector.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from optim_engine.arrays import COMPUTE_DTYPES, Array, compute_dtype
from optim_engine.errors import TensorMismatch
from optim_engine.optimizers import OPTIMIZERS
from optim_engine.rule import Shape, Slot
from optim_engine.spans import Spans

SLOTS: Mapping[str, Slot] = {
    **{slot.name: slot for rule in OPTIMIZERS.values() for slot in rule.keeps},
    "params": Slot("params"),
}
"""All that may be kept for a tensor, in the order of the memory: the slots of the rules, and at last the parameter
itself where the session holds it."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A tensor's shape and dtype, which stay as they were at first."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, array: Array) -> "Spec":
        return cls(array.shape, array.dtype)

    @classmethod
    def held(cls, array: Array, wire_dtype: str | None) -> "Spec":
        """What a session with that wire dtype holds a new array as: in the wire dtype it has only travelled."""
        travelled = array.dtype.name == wire_dtype and array.dtype.isnative
        return cls(array.shape, np.dtype(np.float32) if travelled else array.dtype)

    def __str__(self) -> str:
        return f"{self.dtype.name} {list(self.shape)}"

    @property
    def compute_dtype(self) -> np.dtype[Any]:
        return compute_dtype(self.dtype)

    @property
    def size(self) -> int:
        return prod(self.shape)

    def check(self, tensor: str, got: Array, role: str, wire_dtype: str | None = None) -> None:
        """Raise `TensorMismatch` unless `got` has the same shape and dtype, as it came or as it is held."""
        other = Spec.of(got)
        if self not in (other, Spec.held(got, wire_dtype)):
            raise TensorMismatch(
                tensor,
                f"{role} is {other}, the session has it as {self}: send it so, or PATCH …/tensors with `remove` first, "
                "and it begins anew",
                expected=str(self),
                got=str(other),
            )


def check_dtype(tensor: str, array: Array) -> None:
    """Raise `TensorMismatch` for a dtype that the engine does not compute with."""
    if array.dtype.name not in COMPUTE_DTYPES or not array.dtype.isnative:
        supported = ", ".join(COMPUTE_DTYPES)
        raise TensorMismatch(
            tensor, f"has dtype {array.dtype.str}; there is {supported}", expected=supported, got=array.dtype.name
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a layout: what it is, and what is kept for it."""

    spec: Spec
    slots: tuple[str, ...]

    @property
    def moments(self) -> tuple[str, ...]:
        return tuple(slot for slot in self.slots if slot != "params")

    def dtype_of(self, slot: str) -> np.dtype[Any]:
        return self.spec.dtype if slot == "params" else SLOTS[slot].dtype or self.spec.compute_dtype

    def shape_of(self, slot: str) -> Shape:
        return SLOTS[slot].shape_of(self.spec.shape)

    def nbytes(self, slot: str) -> int:
        return prod(self.shape_of(slot)) * self.dtype_of(slot).itemsize


class Layout:
    """Which bytes are whose. It follows from the entries and their order alone."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        alike: dict[Entry, Entry] = {}
        self.entries = {tensor: alike.setdefault(entry, entry) for tensor, entry in entries.items()}
        """Those that are alike are one object: of ten thousand tensors, most are."""
        self.offsets: dict[tuple[str, str], int] = {}
        """By (tensor, slot), in the order of the memory: a slot's first tensor at a multiple of 64 bytes, each other
        one at a multiple of its dtype's size."""
        self.gaps: list[tuple[int, int]] = []
        end = 0
        for slot in SLOTS:
            kept = {tensor: entry for tensor, entry in entries.items() if slot in entry.slots}
            end = self._align(end, 64) if kept else end
            for tensor, entry in kept.items():
                end = self._align(end, entry.dtype_of(slot).itemsize)
                self.offsets[tensor, slot] = end
                end += entry.nbytes(slot)
        self.nbytes = end

    def _align(self, end: int, alignment: int) -> int:
        start = end + -end % alignment
        if start > end:
            self.gaps.append((end, start))
        return start

    def range(self, tensor: str, slot: str) -> tuple[int, int]:
        """Return where it stands: (start, end) in bytes."""
        start = self.offsets[tensor, slot]
        return start, start + self.entries[tensor].nbytes(slot)

    def spans(self, tensors: Sequence[str], slot: str) -> Spans:
        """Return where those tensors, which are alike in dtype, stand in that slot."""
        return Spans.of(self.entries[tensors[0]].dtype_of(slot), (self.range(tensor, slot) for tensor in tensors))
