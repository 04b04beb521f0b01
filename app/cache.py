"""The sessions that this process stepped last, with their states, so that a step need not read what it just wrote.

Each with the head of the save that wrote it, so a cache can be behind and never wrong: an entry is used only while the
store still has that very head, or for a change that is saved only then.
"""

import asyncio
from collections import OrderedDict
from dataclasses import replace

from app.session import Loaded
from app.store.base import Head
from optim_engine.plan import names_kept

SESSION_COST, TEXT_COST, TENSOR_COST, PLANNED_COST = 10_000, 2, 1000, 500
"""Bytes: for a session, for each byte of its document, for each tensor, and for each tensor in each of the plans that
are remembered. Each is measured, and a little more."""
DROPPED_AT_ONCE = 64
LOOKED_AT_ONCE = 1000


class StateCache:
    """Keeps the most recently used states, up to `limit` bytes of them and of what belongs to them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[str, tuple[Loaded, int]] = OrderedDict()
        """With what each costs."""
        self.nbytes = 0
        """What all cost."""

    def newest(self, session_id: str) -> Loaded | None:
        """What this process saw last of the session. The store may have another by now."""
        entry = self._entries.get(session_id)
        if entry is None:
            return None
        self._entries.move_to_end(session_id)
        return entry[0]

    def get(self, head: Head) -> Loaded | None:
        """The session and state that this very head names."""
        entry = self.newest(head.session_id)
        return entry if entry is not None and entry.head.token == head.token else None

    def put(self, entry: Loaded) -> None:
        """Keep it, without the document, which says what the session says; the oldest go where there is not room for
        all."""
        session_id = entry.head.session_id
        self.drop(session_id)
        cost = _cost(entry)
        self._entries[session_id] = replace(entry, head=replace(entry.head, document=b"")), cost
        self.nbytes += cost
        self._make_room()

    def _make_room(self) -> None:
        """Drop the oldest; where they are many, some in each turn of the event loop."""
        for _ in range(DROPPED_AT_ONCE):
            if self.nbytes <= self._limit:
                return
            self.drop(next(iter(self._entries)))
        asyncio.get_running_loop().call_soon(self._make_room)

    async def drop_expired(self) -> None:
        """Let go of what nobody can ask for any more."""
        for i, session_id in enumerate([*self._entries]):
            if i % LOOKED_AT_ONCE == 0:
                await asyncio.sleep(0)
            entry = self._entries.get(session_id)
            if entry is not None and entry[0].head.expired:
                self.drop(session_id)

    def drop(self, session_id: str) -> None:
        """Let go of a session."""
        entry = self._entries.pop(session_id, None)
        if entry is not None:
            self.nbytes -= entry[1]


def _cost(entry: Loaded) -> int:
    """About what it takes of memory: the state's bytes, the session's settings and labels as Python holds them, and
    what is remembered of each tensor, once for all, and once for each plan that names it."""
    layout = entry.state.layout
    return (
        int(entry.state.memory.nbytes)
        + SESSION_COST
        + TEXT_COST * len(entry.head.document)
        + TENSOR_COST * len(layout.entries)
        + PLANNED_COST * names_kept(layout)
    )
