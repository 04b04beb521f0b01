"""The layout of a state in its memory: all `m` first, then all `v`, and so on.

Within a slot, tensors follow the order of the entries. So a state is stored, sent and checked as plain bytes, and
neighbouring tensors are updated as one vector.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from optim_engine import lazy
from optim_engine.arrays import COMPUTE_DTYPES, Array, compute_dtype
from optim_engine.errors import TensorMismatch
from optim_engine.optimizers import OPTIMIZERS
from optim_engine.rule import Shape, Slot
from optim_engine.spans import Spans

SLOTS: Mapping[str, Slot] = {
    **{slot.name: slot for rule in OPTIMIZERS.values() for slot in rule.keeps},
    **{slot.name: slot for slot in lazy.SLOTS},
    "average": Slot("average"),
    "params": Slot("params"),
}
"""All slots in the order of the memory: those of the rules, of lazy rows, then, for sessions that hold the parameter,
its average (`averaging.py`) and the parameter itself."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A tensor's shape and dtype, which never change."""

    shape: Shape
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, array: Array) -> "Spec":
        """Return the spec of an array."""
        return cls(array.shape, array.dtype)

    @classmethod
    def held(cls, array: Array, wire_dtype: str | None) -> "Spec":
        """Return the spec that a session holds an array by: float32 if it came in the wire dtype, else its own."""
        travelled = array.dtype.name == wire_dtype and array.dtype.isnative
        return cls(array.shape, np.dtype(np.float32) if travelled else array.dtype)

    def __str__(self) -> str:
        return f"{self.dtype.name} {list(self.shape)}"

    @property
    def compute_dtype(self) -> np.dtype[Any]:
        """Return the dtype of the tensor's moments and arithmetic."""
        return compute_dtype(self.dtype)

    @property
    def size(self) -> int:
        """Return the number of elements."""
        return prod(self.shape)

    def check(self, tensor: str, got: Array, role: str, wire_dtype: str | None = None) -> None:
        """Raise `TensorMismatch` unless `got` has this shape and dtype, as it came or as it would be held."""
        other = Spec.of(got)
        if self not in (other, Spec.held(got, wire_dtype)):
            raise TensorMismatch(
                tensor,
                f": {role} is {other}, the session has it as {self}: {self._way_out(other, wire_dtype)}",
                expected=str(self),
                got=str(other),
            )

    def _way_out(self, other: "Spec", wire_dtype: str | None) -> str:
        remove = "PATCH …/tensors with `remove` first, and it begins anew"
        if other.shape != self.shape:
            return f"send it so, or {remove}"
        if wire_dtype:
            return f"send float32 or {wire_dtype}" if self.dtype == np.float32 else f"send {self.dtype.name}"
        return f"convert it to {self.dtype.name}; to change its dtype, {remove}"


def check_dtype(tensor: str, array: Array) -> None:
    """Raise `TensorMismatch` if the engine does not accept the array's dtype."""
    if array.dtype.name not in COMPUTE_DTYPES or not array.dtype.isnative:
        supported = ", ".join(COMPUTE_DTYPES)
        raise TensorMismatch(
            tensor,
            f"has the dtype {array.dtype.str}: convert it to float32; expected one of {supported}",
            expected=supported,
            got=array.dtype.name,
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of a layout: its spec, and the names of the slots that are kept for it."""

    spec: Spec
    slots: tuple[str, ...]

    @property
    def moments(self) -> tuple[str, ...]:
        """Return the slots other than `params`."""
        return tuple(slot for slot in self.slots if slot != "params")

    def dtype_of(self, slot: str) -> np.dtype[Any]:
        """Return the dtype of a slot."""
        return self.spec.dtype if slot == "params" else SLOTS[slot].dtype or self.spec.compute_dtype

    def shape_of(self, slot: str) -> Shape:
        """Return the shape of a slot."""
        return SLOTS[slot].shape_of(self.spec.shape)

    def nbytes(self, slot: str) -> int:
        """Return the size of a slot in bytes."""
        return prod(self.shape_of(slot)) * self.dtype_of(slot).itemsize


class Layout:
    """The place of every slot of every tensor in a state's memory, in bytes.

    It depends only on the entries and their order. `nbytes` is the size of the memory; `gaps` are its unused ranges.
    """

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        alike: dict[Entry, Entry] = {}
        self.entries = {tensor: alike.setdefault(entry, entry) for tensor, entry in entries.items()}
        """The entries by tensor. Equal entries share one object, because most of ten thousand tensors are alike."""
        self.offsets: dict[tuple[str, str], int] = {}
        """The first byte by (tensor, slot), in the order of the memory. The first tensor of a slot is aligned to 64
        bytes, each other one to the size of its dtype."""
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
        """Return the bytes (start, end) of a tensor's slot."""
        start = self.offsets[tensor, slot]
        return start, start + self.entries[tensor].nbytes(slot)

    def spans(self, tensors: Sequence[str], slot: str) -> Spans:
        """Return the place of a slot of several tensors, which have the same dtype."""
        return Spans.of(self.entries[tensors[0]].dtype_of(slot), (self.range(tensor, slot) for tensor in tensors))
