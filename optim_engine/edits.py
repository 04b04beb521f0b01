"""Edits of a state's tensors: rename, remove and reset."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from optim_engine.errors import TensorMismatch
from optim_engine.layout import Entry, Layout
from optim_engine.state import State


@dataclass(frozen=True)
class Edits:
    """The edits of tensors, by their old names. They apply at once, so two tensors may swap names.

    `rename` maps old names to new ones. A tensor in `remove` is forgotten. A tensor in `reset` keeps its shape, dtype
    and parameter, but loses its count and moments.
    """

    rename: Mapping[str, str] = field(default_factory=dict)
    remove: Sequence[str] = ()
    reset: Sequence[str] = ()

    def apply(self, state: State) -> State:
        """Return the edited state; the remaining tensors keep their order.

        Raises `TensorMismatch` if a name is unknown or given twice, or if two tensors would have the same name.
        """
        self._check(state)
        reset = frozenset(self.reset)
        old_names = {new: old for old, new in self.names(state.entries).items()}
        entries, counts = dict[str, Entry](), dict[str, int]()
        for new, old in old_names.items():
            entry = state.entries[old]
            entries[new] = _begun_anew(entry) if old in reset else entry
            counts[new] = 0 if old in reset else state.counts[old]
        edited = State.allocate(state.t, Layout(entries), counts)
        for slot, tensor, array in edited.arrays():
            old = old_names[tensor]
            array[...] = state.caught_up(old) if slot == "params" and old in reset else state.array(old, slot)
        return edited

    def names(self, tensors: Mapping[str, object]) -> dict[str, str]:
        """Return the new name of each tensor that is not removed, by its old name."""
        removed = frozenset(self.remove)
        return {name: self.rename.get(name, name) for name in tensors if name not in removed}

    def _check(self, state: State) -> None:
        seen: dict[str, str] = {}
        for name, verb in self._verbs():
            if name not in state.entries:
                raise TensorMismatch(name, f"cannot be {verb}, because the session has no such tensor")
            if name in seen:
                raise TensorMismatch(name, f"is named twice, to be {seen[name]} and to be {verb}: name it once")
            seen[name] = verb
        taken: dict[str, str] = {}
        for old, new in self.names(state.entries).items():
            if new in taken:
                both = f"{taken[new]!r:.80} and {old!r:.80}"
                raise TensorMismatch(new, f"would be the name of two tensors, {both}: rename or remove one of them")
            taken[new] = old

    def _verbs(self) -> Iterator[tuple[str, str]]:
        """Yield each name with the verb of its edit."""
        yield from ((name, "renamed") for name in self.rename)
        yield from ((name, "removed") for name in self.remove)
        yield from ((name, "reset") for name in self.reset)


def _begun_anew(entry: Entry) -> Entry:
    return Entry(entry.spec, tuple(slot for slot in entry.slots if slot == "params"))
