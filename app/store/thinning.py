"""The thinning of a long history: which row goes when a session has more of them than are kept.

The newer half of the rows is whole. The older half has the rows of every 2ᵏ-th step. When it is full, one pass after
another goes over it from its first row, and leaves every second row of the pass before: k grows by one, and what comes
from the newer half meanwhile is thinned to the new k at once. So neighbours in the older half are 2ᵏ⁻¹ or 2ᵏ steps
apart. Of notable rows, those of skipped and undone steps, an eighth of `limit` stays beside them; beyond that they are
like all others. The first row stays.

A save looks at few rows: as a rule it removes one of two. If there is none to remove among `LOOKS`, such as in a long
run of notable rows, the last of these goes. A session that has far more rows than `limit`, which was lowered, gets down
to it by and by. The stores agree row by row: all have this table, and Redis has it in Lua (`redis_scripts`).

Ranks count from 0 in the order of reading.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

NOTABLE = (b'"skipped":true', b'"undone":true')
"""The marks of a notable row in its JSON."""
NOTABLE_SHARE = 8
LOOKS = 32
MOST_DOUBLINGS = 52


def is_notable(body: bytes) -> bool:
    """Return whether a row is that of a skipped or undone step."""
    return any(mark in body for mark in NOTABLE)


class Seen(NamedTuple):
    """A row as thinning sees it."""

    step: int
    is_notable: bool


class Finger(Protocol):
    """A place in the history: that of one row, or behind the last one."""

    def look(self) -> Seen:
        """Return the row."""

    def move(self) -> None:
        """Go on to the next row."""

    def remove(self) -> None:
        """Remove the row, and go on to the next one."""


class Rewinding(Finger, Protocol):
    """A finger that begins anew."""

    def rewind(self) -> None:
        """Go back to the first row."""


@dataclass(slots=True)
class Thinning:
    """The progress of thinning a session: it has begun once there is one.

    `older` is the size of the older half and the rank of the first row behind it, `notable` how many of its rows are
    notable. The pass goes on at the rank `hand`, and has `left` rows to look at: those that came meanwhile are thin.
    """

    doublings: int = 1
    older: int = 0
    hand: int = 0
    left: int = 0
    notable: int = 0

    def forget(self, count: int) -> bool:
        """Note that the newest rows were removed, and `count` are left; return whether the older half begins anew."""
        if count >= self.older:
            return False
        self.older = self.hand = self.left = self.notable = 0
        return True

    def thin(self, count: int, limit: int, edge: Finger, hand: Rewinding) -> int:
        """Remove rows while `count` exceeds `limit`; return how many.

        `edge` is at the rank `older`, `hand` at that of its name, and they stay so.
        """
        removed = looks = 0
        while count - removed > limit and (looks < LOOKS or not removed):
            looks += 1
            at_edge = count - removed - self.older > limit - limit // 2
            if not at_edge and not self.left:
                self.doublings, self.hand, self.left = min(self.doublings + 1, MOST_DOUBLINGS), 0, self.older
                hand.rewind()
            self.left -= not at_edge
            finger: Finger = edge if at_edge else hand
            seen = finger.look()
            stays = looks < LOOKS and self._stays(seen, limit, at_edge=at_edge)
            if stays or (limit > 1 and not (self.older if at_edge else self.hand)):
                finger.move()
                self._note_move(seen, at_edge=at_edge)
            else:
                finger.remove()
                removed += 1
                self._note_removal(seen, at_edge=at_edge)
        return removed

    def _stays(self, seen: Seen, limit: int, *, at_edge: bool) -> bool:
        """Return whether a row that is none too many may stay."""
        if seen.step % 2**self.doublings == 0:
            return True
        return seen.is_notable and self.notable + at_edge <= limit // NOTABLE_SHARE

    def _note_move(self, seen: Seen, *, at_edge: bool) -> None:
        if at_edge:
            self.older += 1
            self.notable += seen.is_notable
        else:
            self.hand += 1

    def _note_removal(self, seen: Seen, *, at_edge: bool) -> None:
        if not at_edge:
            self.older -= 1
            self.notable = max(0, self.notable - seen.is_notable)
