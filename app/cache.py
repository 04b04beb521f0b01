"""The cache of states: the sessions that this process stepped last, so that a step need not read what it just wrote.

An entry has the head of its save, so the cache may be outdated but never wrong: an entry is used only while the store
still has that head, or for a change whose compare-and-save checks it.

A large step writes over its state if nobody else reads it (`Records.in_place`). It may, because:

- The entry leaves the cache before the readers are counted, without an await between. Nobody can get the state from
  here after the count. Everybody who got it before has an array of his own on its memory, and is counted.
- Only a save that was acknowledged puts the session back. If the step fails, is refused or cancelled, loses against
  another writer, or if nobody knows what became of its save, the memory goes with the last who holds it, and the next
  request reads the session from the store, by the head that the store then has. A retry after a conflict does the same.
- A cancelled step may go on computing on its thread for a while. It writes to memory that nobody else has, and its
  saving takes no more pieces. A save that was begun is finished, and reads memory that nobody writes any more.
- Meanwhile a reader of the same session reads the version before from the store, into memory of its own, and may put it
  here: that entry has the old head, so it is used only as long as the store has that too.
- Two processes that step one session have two memories and two caches, and the store lets one of them save. The other's
  memory, computed from the same head, is dropped.
- A store that keeps views (`memory:`) has no other copy. It lets go of its views for the step, and whoever wants to
  read the state from it waits. All that may refuse the step is looked at before, and a cancelled step is finished. An
  error of the service itself in between is not undone; the checksums then tell that the state is damaged.
"""

import asyncio
from collections import OrderedDict

from app.session import Loaded, Session
from app.store.base import Head
from optim_engine.plan import names_kept

SESSION_COST, TEXT_COST, TENSOR_COST, PLANNED_COST = 10_000, 2, 1000, 500
"""Bytes: of a session, of each byte of its document, of each tensor, and of each tensor in each cached plan. Measured,
and rounded up."""
DROPPED_AT_ONCE = 64
LOOKED_AT_ONCE = 1000


class StateCache:
    """The most recently used states, up to `limit` bytes with all that belongs to them."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._entries: OrderedDict[str, tuple[Loaded, int, int]] = OrderedDict()
        """The entries, each with its cost, and with the bytes of its document."""
        self._taken: tuple[Session, int] | None = None
        """The session that was taken last and is not back yet, and the bytes of its document."""
        self.nbytes = 0
        """The cost of all entries."""
        self.hits = 0
        """The states that were asked for and were here."""
        self.misses = 0

    @property
    def count(self) -> int:
        """Return the number of entries."""
        return len(self._entries)

    def newest(self, session_id: str) -> Loaded | None:
        """Return the session as this process saw it last. The store may have a newer one.

        Each caller gets the state with an array of its own, so the callers that still have one are counted.
        """
        entry = self._entries.get(session_id)
        if entry is None:
            return None
        self._entries.move_to_end(session_id)
        return _shared(entry[0])

    def get(self, head: Head) -> Loaded | None:
        """Return the session and state of this very head."""
        entry = self.newest(head.session_id)
        return entry if entry is not None and entry.head.token == head.token else None

    def find(self, head: Head) -> Loaded | None:
        """Return the session and state of this very head, and count whether they are here."""
        entry = self.get(head)
        if entry is None:
            self.misses += 1
        else:
            self.hits += 1
        return entry

    def take(self, head: Head) -> bool:
        """Drop the entry of this very head; return whether there was one. Nobody new gets its state."""
        entry = self._entries.get(head.session_id)
        if entry is None or entry[0].head.token != head.token:
            return False
        self._taken = entry[0].session, entry[2]
        self.drop(head.session_id)
        return True

    def put(self, entry: Loaded) -> None:
        """Keep an entry, without its document, which has only what the session has; drop the oldest to make room."""
        session_id = entry.head.session_id
        text, self._taken = self._text(entry), None
        self.drop(session_id)
        cost = _cost(entry, text)
        self._entries[session_id] = _shared(_without_document(entry)), cost, text
        self.nbytes += cost
        if self.nbytes > self.limit:
            self._make_room()

    def _text(self, entry: Loaded) -> int:
        """Return about how many bytes the document has; it is not written for that if it is like the one before."""
        cached = self._entries.get(entry.head.session_id)
        before = self._taken if cached is None else (cached[0].session, cached[2])
        if before is not None and _reads_alike(before[0], entry.session):
            return before[1]
        return len(entry.head.document)

    def _make_room(self) -> None:
        """Drop the oldest; if they are many, a batch per turn of the event loop."""
        for _ in range(DROPPED_AT_ONCE):
            if self.nbytes <= self.limit:
                return
            self.drop(next(iter(self._entries)))
        asyncio.get_running_loop().call_soon(self._make_room)

    async def drop_expired(self) -> None:
        """Drop expired sessions."""
        for i, session_id in enumerate([*self._entries]):
            if i % LOOKED_AT_ONCE == 0:
                await asyncio.sleep(0)
            entry = self._entries.get(session_id)
            if entry is not None and entry[0].head.expired:
                self.drop(session_id)

    def drop(self, session_id: str) -> None:
        """Drop a session."""
        entry = self._entries.pop(session_id, None)
        if entry is not None:
            self.nbytes -= entry[1]


def _without_document(entry: Loaded) -> Loaded:
    head = entry.head
    if head.is_unwritten:  # the document is a function of the session, which is kept, too
        return entry
    names = head.session_id, head.tenant, head.version, head.token
    bare = Head(*names, b"", head.pieces, head.expires_at, head.leftovers, head.earlier)
    return Loaded(bare, entry.session, entry.state, entry.blocks)


def _reads_alike(before: Session, after: Session) -> bool:
    """Return whether the documents differ by no more than numbers and digests."""
    return (
        (before.layout, before.config, before.labels) == (after.layout, after.config, after.labels)
        and before.notes == after.notes
        and (before.applied is None, before.skipped is None) == (after.applied is None, after.skipped is None)
    )


def _shared(entry: Loaded) -> Loaded:
    """Return the entry with an array of its own on the state's memory."""
    if entry.state.memory.base is None:
        return entry
    return Loaded(entry.head, entry.session, entry.state.shared(), entry.blocks)


def _cost(entry: Loaded, text: int) -> int:
    """Return about how many bytes of memory an entry takes.

    It counts the state, the session's settings and labels as Python objects, and each tensor: once, and once more for
    each plan that names it.
    """
    layout = entry.state.layout
    return (
        int(entry.state.memory.nbytes)
        + (entry.blocks.nbytes if entry.blocks else 0)
        + SESSION_COST
        + TEXT_COST * text
        + TENSOR_COST * len(layout.entries)
        + PLANNED_COST * names_kept(layout)
    )
