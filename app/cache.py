"""The sessions that this process stepped last, with their states, so that a step need not read what it just wrote.

Each with the head of the save that wrote it, so a cache can be behind and never wrong: an entry is used only while the
store still has that very head, or for a change that is saved only then.
"""

from collections import OrderedDict
from dataclasses import dataclass

from app.session import Session
from app.store.base import Head
from optim_engine import State


@dataclass(frozen=True, slots=True)
class Loaded:
    """A session and its state, as one head of the store names them."""

    head: Head
    session: Session
    state: State


class StateCache:
    """Keeps the most recently used states, up to `limit` bytes of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[str, Loaded] = OrderedDict()
        self._bytes = 0

    def newest(self, session_id: str) -> Loaded | None:
        """What this process saw last of the session. The store may have another by now."""
        entry = self._entries.get(session_id)
        if entry is not None:
            self._entries.move_to_end(session_id)
        return entry

    def get(self, head: Head) -> Loaded | None:
        """The session and state that this very head names."""
        entry = self.newest(head.session_id)
        return entry if entry is not None and entry.head.token == head.token else None

    def put(self, entry: Loaded) -> None:
        """Keep it; the oldest go where there is not room for all."""
        session_id = entry.head.session_id
        self.drop(session_id)
        self._entries[session_id] = entry
        self._bytes += _cost(entry.state)
        while self._bytes > self._limit:
            self.drop(next(iter(self._entries)))

    def drop_expired(self) -> None:
        """Let go of what nobody can ask for any more."""
        for session_id in [session_id for session_id, entry in self._entries.items() if entry.head.expired]:
            self.drop(session_id)

    def drop(self, session_id: str) -> None:
        entry = self._entries.pop(session_id, None)
        if entry is not None:
            self._bytes -= _cost(entry.state)


def _cost(state: State) -> int:
    """A state's bytes, and about what its names and numbers take."""
    return int(state.memory.nbytes) + 1024 * (1 + len(state.entries))
