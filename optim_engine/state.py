"""The state of an optimizer: (t, m, v), by the names of the tensors, in one block of memory."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from optim_engine.arrays import Array, convert
from optim_engine.buffers import BUFFERS
from optim_engine.layout import Entry, Layout, Spec, check_dtype


@dataclass(frozen=True)
class State:
    """Step count `t`, each tensor's count of updates, and what is kept of it. A value: a step makes the next."""

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

    def array(self, tensor: str, slot: str) -> Array:
        """Return what is kept in `slot` for the tensor: a view of the memory."""
        start, end = self.layout.range(tensor, slot)
        entry = self.entries[tensor]
        return self.memory[start:end].view(entry.dtype_of(slot)).reshape(entry.shape_of(slot))

    def arrays(self) -> Iterator[tuple[str, str, Array]]:
        """(slot, tensor, array) of all that is kept, in the order of the memory."""
        for tensor, slot in self.layout.offsets:
            yield slot, tensor, self.array(tensor, slot)

    def held(self) -> dict[str, Array]:
        """The parameters that the state holds; views of its memory."""
        return {name: self.array(name, "params") for name, entry in self.entries.items() if "params" in entry.slots}

    def with_params(self, params: Mapping[str, Array], wire_dtype: str | None = None) -> "State":
        """The state with these parameters held in it: float32 where they came in the wire dtype.

        Tensors that it did not know get no moments yet.
        """
        entries = dict(self.entries)
        for name, array in params.items():
            check_dtype(name, array)
            entry = entries.get(name, Entry(Spec.held(array, wire_dtype), ()))
            entry.spec.check(name, array, "the parameter", wire_dtype)
            entries[name] = Entry(entry.spec, (*entry.moments, "params"))
        layout = self.layout if entries == self.entries else Layout(entries)
        new = replace(self.moved(layout), counts={name: self.counts.get(name, 0) for name in entries})
        for name, array in params.items():
            convert(array, new.array(name, "params"))
        return new

    def moved(self, layout: Layout) -> "State":
        """A copy in that layout: zeros where this state has nothing, without what the layout has no place for."""
        if layout is self.layout:
            memory = BUFFERS.take(layout.nbytes)
            memory[:] = self.memory
            return replace(self, memory=memory)
        new = State(self.t, layout, self.counts, np.zeros(layout.nbytes, np.uint8))  # a layout seldom comes twice
        for tensor, slot in layout.offsets.keys() & self.layout.offsets.keys():
            new.array(tensor, slot)[...] = self.array(tensor, slot)
        return new
