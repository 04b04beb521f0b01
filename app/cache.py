"""The sessions that this process stepped last, with their states, so that a step need not read what it just wrote.

Keyed by the save that wrote them (the head's token): an entry is used only while the store still has that very save, so
a cache can be behind and never wrong.
"""

from collections import OrderedDict

from app.session import Session
from app.store.base import Head
from optim_engine import State


class StateCache:
    """Keeps the most recently used states, up to `limit` bytes of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[str, tuple[str, Session, State]] = OrderedDict()
        self._bytes = 0

    def get(self, head: Head) -> tuple[Session, State] | None:
        """The session and state that this very head names."""
        entry = self._entries.get(head.session_id)
        if entry is None or entry[0] != head.token:
            return None
        self._entries.move_to_end(head.session_id)
        return entry[1:]

    def put(self, head: Head, session: Session, state: State) -> None:
        """Keep them; the oldest go where there is not room for all."""
        self.drop(head.session_id)
        self._entries[head.session_id] = (head.token, session, state)
        self._bytes += _cost(state)
        while self._bytes > self._limit:
            self.drop(next(iter(self._entries)))

    def drop(self, session_id: str) -> None:
        entry = self._entries.pop(session_id, None)
        if entry is not None:
            self._bytes -= _cost(entry[2])


def _cost(state: State) -> int:
    """A state's bytes, and about what its names and numbers take."""
    return int(state.memory.nbytes) + 1024 * (1 + len(state.entries))
