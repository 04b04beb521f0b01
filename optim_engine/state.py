"""The state of an optimizer: (t, m, v), by the names of the tensors, in one block of memory.

All moments stand in one vector of bytes: all `m` first, then all `v`, and so on, each in the order in which the tensors
were first seen. So a state is stored, sent and checked as plain bytes, and neighbours are updated as one vector.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from optim_engine.arrays import COMPUTE_DTYPES, Array, flat
from optim_engine.buffers import BUFFERS
from optim_engine.errors import TensorMismatch

SLOTS = ("m", "v", "v_max", "b", "params")
"""What may be kept for a tensor, in the order of the memory: the first and second moments, AMSGrad's maximum of v,
RMSProp's momentum buffer, and the parameter itself where the session holds it."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A tensor's shape and dtype, which stay as they were at first."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @classmethod
    def of(cls, array: Array) -> "Spec":
        return cls(array.shape, array.dtype)

    def __str__(self) -> str:
        return f"{self.dtype.name} {list(self.shape)}"

    @property
    def compute_dtype(self) -> np.dtype[Any]:
        return COMPUTE_DTYPES[self.dtype.name]

    @property
    def size(self) -> int:
        return prod(self.shape)

    def check(self, tensor: str, got: "Spec", role: str) -> None:
        """Raise `TensorMismatch` unless `got` is the same."""
        if got != self:
            raise TensorMismatch(
                tensor, f"{role} is {got}, the session has it as {self}", expected=str(self), got=str(got)
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
        return self.spec.dtype if slot == "params" else self.spec.compute_dtype

    def nbytes(self, slot: str) -> int:
        return self.spec.size * self.dtype_of(slot).itemsize

    def keeping(self, slots: Iterable[str]) -> "Entry":
        """The entry with those slots as well."""
        wanted = {*self.slots, *slots}
        return Entry(self.spec, tuple(slot for slot in SLOTS if slot in wanted))


class Layout:
    """Where each tensor's slots stand in the memory. It follows from the entries and their order alone."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self.entries = entries
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
        """Where it stands: (start, end) in bytes."""
        start = self.offsets[tensor, slot]
        return start, start + self.entries[tensor].nbytes(slot)

    def adjacent(self, tensors: Sequence[str], slot: str) -> bool:
        """Whether the tensors stand side by side in that slot, in this order."""
        ends = [self.range(tensor, slot) for tensor in tensors]
        return all(left[1] == right[0] for left, right in itertools.pairwise(ends))


@dataclass(frozen=True)
class State:
    """Step count `t`, the number of updates of each tensor, and what is kept of them. A value: a step makes the next."""

    t: int
    layout: Layout
    counts: Mapping[str, int]
    memory: Array

    @classmethod
    def empty(cls) -> "State":
        return cls.allocate(0, Layout({}), {})

    @classmethod
    def allocate(cls, t: int, layout: Layout, counts: Mapping[str, int]) -> "State":
        """A state with whatever content, but for zeros between the tensors: equal states have equal bytes."""
        memory = BUFFERS.take(layout.nbytes)
        for start, end in layout.gaps:
            memory[start:end] = 0
        return cls(t, layout, counts, memory)

    @property
    def entries(self) -> Mapping[str, Entry]:
        return self.layout.entries

    def vector(self, tensor: str, slot: str) -> Array:
        """What is kept in `slot` for the tensor, as a flat view of the memory."""
        start, end = self.layout.range(tensor, slot)
        return self.memory[start:end].view(self.entries[tensor].dtype_of(slot))

    def array(self, tensor: str, slot: str) -> Array:
        """The same in the tensor's shape."""
        return self.vector(tensor, slot).reshape(self.entries[tensor].spec.shape)

    def run(self, tensors: Sequence[str], slot: str) -> Array:
        """Tensors that stand side by side, as one flat view."""
        start, end = self.layout.range(tensors[0], slot)[0], self.layout.range(tensors[-1], slot)[1]
        return self.memory[start:end].view(self.entries[tensors[0]].dtype_of(slot))

    def arrays(self) -> Iterator[tuple[str, str, Array]]:
        """(slot, tensor, array) of all that is kept, in the order of the memory."""
        for tensor, slot in self.layout.offsets:
            yield slot, tensor, self.array(tensor, slot)

    def held(self) -> dict[str, Array]:
        """The parameters that the state holds; views of its memory."""
        return {name: self.array(name, "params") for name, entry in self.entries.items() if "params" in entry.slots}

    def with_params(self, params: Mapping[str, Array]) -> "State":
        """The state with these parameters held in it; tensors that it did not know get no moments yet."""
        entries = dict(self.entries)
        for name, array in params.items():
            entry = entries.get(name, Entry(Spec.of(array), ()))
            entry.spec.check(name, Spec.of(array), "the parameter")
            entries[name] = entry.keeping(["params"])
        new = State.allocate(self.t, Layout(entries), {name: self.counts.get(name, 0) for name in entries})
        new.carry(self)
        for name, array in params.items():
            new.vector(name, "params")[:] = flat(array)
        return new

    def carry(self, old: "State", without: frozenset[str] = frozenset()) -> None:
        """Copy what `old` has into this memory, but for those tensors."""
        if not without and self.layout is old.layout:
            self.memory[:] = old.memory
            return
        for tensor, slot in old.layout.offsets:
            if tensor not in without:
                self.vector(tensor, slot)[:] = old.vector(tensor, slot)
