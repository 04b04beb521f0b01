"""The state of an optimizer: the step count, and each tensor's count and slots, in one block of memory."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from optim_engine.arrays import Array, convert, rounded
from optim_engine.buffers import BUFFERS
from optim_engine.decay import caught_up
from optim_engine.layout import Entry, Layout, Spec, check_dtype


@dataclass(frozen=True)
class State:
    """The state of a session. It is immutable: a step returns the next one. Only a step in place makes it void.

    `t` is the number of steps, `counts` has each tensor's number of updates. `memory` (uint8) has the values of all
    slots, in the places that `layout` defines.
    """

    t: int
    layout: Layout
    counts: Mapping[str, int]
    memory: Array

    @classmethod
    def empty(cls) -> "State":
        """Return the state before the first step."""
        return cls.allocate(0, Layout({}), {})

    @classmethod
    def allocate(cls, t: int, layout: Layout, counts: Mapping[str, int]) -> "State":
        """Return a state with arbitrary values, and zeros between them, so that equal states have equal bytes."""
        memory = BUFFERS.take(layout.nbytes)
        for start, end in layout.gaps:
            memory[start:end] = 0
        return cls(t, layout, counts, memory)

    def shared(self) -> "State":
        """Return the same state with an array of its own on the memory, which counts as a reader of it (`buffers`).

        Memory that is not lent by a pool is never written over, and needs no count.
        """
        return self if self.memory.base is None else State(self.t, self.layout, self.counts, self.memory[:])

    @property
    def entries(self) -> Mapping[str, Entry]:
        """Return the spec and the slots of each tensor, by name."""
        return self.layout.entries

    def array(self, tensor: str, slot: str) -> Array:
        """Return a tensor's slot, in the slot's shape and dtype, as a view of the memory. Raises `KeyError`."""
        start, end = self.layout.range(tensor, slot)
        entry = self.entries[tensor]
        return self.memory[start:end].view(entry.dtype_of(slot)).reshape(entry.shape_of(slot))

    def arrays(self) -> Iterator[tuple[str, str, Array]]:
        """Yield (slot, tensor, array) for all slots, in the order of the memory."""
        for tensor, slot in self.layout.offsets:
            yield slot, tensor, self.array(tensor, slot)

    def held(self) -> dict[str, Array]:
        """Return the parameters that the state holds, by tensor, as views of its memory."""
        return {name: self.array(name, "params") for name, entry in self.entries.items() if "params" in entry.slots}

    def caught_up(self, tensor: str, part: Callable[[Array], Array] = lambda table: table) -> Array:
        """Return a tensor's parameter with the decay of its rows caught up, or only the part of a table that `part`
        returns. Raises `KeyError`."""
        θ = part(self.array(tensor, "params"))
        if "row_decay" not in self.entries[tensor].slots:
            return θ
        sums = part(self.array(tensor, "row_decay")).reshape(-1, 2)
        return rounded(caught_up(θ.reshape(-1), self.array(tensor, "decay"), sums).reshape(θ.shape), θ.dtype)

    def with_params(self, params: Mapping[str, Array], wire_dtype: str | None = None) -> "State":
        """Return a state that holds these parameters, as float32 if they came in the wire dtype.

        New tensors get no moments yet. New values have no decay to catch up with. Raises `TensorMismatch` for an
        unsupported dtype, or if a tensor has another shape or dtype than before.
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
            if "row_decay" in new.entries[name].slots:
                new.array(name, "row_decay")[...] = new.array(name, "decay")
        return new

    def moved(self, layout: Layout) -> "State":
        """Return a copy in that layout: with zeros for new slots, and without those that the layout lacks.

        Decay that lazy rows would have caught up with later is not lost with their slots.
        """
        if layout is self.layout:
            memory = BUFFERS.take(layout.nbytes)
            memory[:] = self.memory
            return replace(self, memory=memory)
        new = State(self.t, layout, self.counts, BUFFERS.take_zeros(layout.nbytes))
        for tensor, slot in layout.offsets.keys() & self.layout.offsets.keys():
            new.array(tensor, slot)[...] = self.array(tensor, slot)
        for tensor, slot in self.layout.offsets.keys() - layout.offsets.keys():
            if slot == "row_decay" and (tensor, "params") in layout.offsets:
                new.array(tensor, "params")[...] = self.caught_up(tensor)
        return new
