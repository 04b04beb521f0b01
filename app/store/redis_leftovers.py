"""Leftovers in Redis: the pieces that the last save of a large state replaced.

Freed at once, their memory goes back to the operating system (jemalloc, Redis's allocator, decides so), and the next
save takes fresh memory page by page. So they stay for a while, named by the head. The next save frees one right before
it writes a new piece, which then takes its place in memory. A session that is not saved again keeps them until they
expire.
"""

from collections import deque

from app.store.base import Head, Save
from app.store.redis_client import Command
from app.store.redis_names import head_key, piece_key
from app.store.redis_scripts import FREE

LEFT_BYTES = 32 << 20
"""The fewest bytes of replaced pieces that are left. Fewer are freed at once, which costs little."""
LEFT_MS = 60_000
"""The time after which leftovers expire."""
AHEAD = 4
"""The leftovers that are freed in addition before the first piece. Redis uses their memory for its buffers: with an
append-only file, these take twice a piece."""


def left(save: Save) -> tuple[str, ...]:
    """Return the names of the pieces that a save replaces and leaves to the next one."""
    if save.previous is None or save.previous.state_bytes < LEFT_BYTES:  # a quick answer for small states
        return ()
    obsolete = save.obsolete
    is_large = sum(piece.size for piece in obsolete) >= LEFT_BYTES
    return tuple(piece.name for piece in obsolete) if is_large else ()


class Leftovers:
    """The leftovers that a head names, for the save that follows it.

    They are freed only while Redis holds that head: a Redis that has lost its last saves may hold an older one, which
    needs them.
    """

    def __init__(self, head: Head | None) -> None:
        self._head = head
        self._names = deque(head.leftovers if head else ())
        self._due = 1 + AHEAD

    def free_next(self) -> list[Command]:
        """Return the command that makes room for the next piece; none if there are no more leftovers."""
        due, self._due = self._due, 1
        return self._free(due)

    def free_rest(self) -> list[Command]:
        """Return the command that frees all others; none if there are no more."""
        return self._free(len(self._names))

    def _free(self, count: int) -> list[Command]:
        if self._head is None or not self._names:
            return []
        names = [self._names.popleft() for _ in range(min(count, len(self._names)))]
        session_id, token = self._head.session_id, self._head.token
        keys = [head_key(session_id), *(piece_key(session_id, name) for name in names)]
        return [("EVAL", FREE.text, len(keys), *keys, token)]
