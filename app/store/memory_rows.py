"""The rows of a session's history in memory, in the order of reading.

They are in two lists, of the older and of the newer half (`thinning`): a row goes at the end of the former or at the
start of the latter, and neither moves all others.
"""

import bisect
from typing import NamedTuple

from app.store.history import HistoryRow
from app.store.thinning import Seen, Thinning


class Row(NamedTuple):
    """A row of the history: sorts in the order of reading, by its step and the version that wrote it."""

    step: int
    version: int
    given: HistoryRow

    @property
    def seen(self) -> Seen:
        return Seen(self.step, self.given.is_notable)


class Rows:
    """The rows of one session; all are of the newer half until there are too many."""

    def __init__(self) -> None:
        self._older: list[Row] = []
        self._newer: list[Row] = []
        self._start = 0
        """The index of the first row in `_newer`: what was before it has left."""
        self._thinning = Thinning()

    def __len__(self) -> int:
        return len(self._older) + len(self._newer) - self._start

    def __getitem__(self, rank: int) -> Row:
        behind = rank - len(self._older)
        return self._older[rank] if behind < 0 else self._newer[self._start + behind]

    def between(self, start: int, stop: int) -> list[Row]:
        """Return the rows of these ranks."""
        older = len(self._older)
        behind = self._newer[self._start + max(0, start - older) : self._start + max(0, stop - older)]
        return self._older[start:stop] + behind

    def rank(self, *place: int) -> int:
        """Return the rank of the first row at this place, a step and perhaps a version, or behind it."""
        if self._older and self._older[-1][:2] >= place:
            return bisect.bisect_left(self._older, place)
        return len(self._older) + bisect.bisect_left(self._newer, place, lo=self._start) - self._start

    def put(self, row: Row) -> None:
        """Put a row at its place, which has none, or a row to replace."""
        rank = self.rank(*row[:2])
        if rank == len(self):
            self._newer.append(row)
        elif self[rank][:2] == row[:2]:
            self._replace(rank, row)
        elif rank < len(self._older):
            self._older.insert(rank, row)
            self._newer.insert(self._start, self._older.pop())
        else:
            self._newer.insert(self._start + rank - len(self._older), row)

    def _replace(self, rank: int, row: Row) -> None:
        behind = rank - len(self._older)
        if behind < 0:
            self._older[rank] = row
        else:
            self._newer[self._start + behind] = row

    def cut(self, rank: int) -> None:
        """Remove the rows from that rank on."""
        rows = self.between(0, rank)
        older = 0 if self._thinning.forget(len(rows)) else len(self._older)
        self._older, self._newer, self._start = rows[:older], rows[older:], 0

    def thin(self, limit: int) -> None:
        """Remove rows beyond `limit`, as `thinning` says."""
        if len(self) > limit:
            hand = Hand(self._older, self._thinning.hand)
            self._thinning.thin(len(self), limit, Edge(self, self._older), hand)

    def first_newer(self) -> Row:
        """Return the first row of the newer half."""
        return self._newer[self._start]

    def shift(self) -> Row:
        """Return the first row of the newer half, and remove it."""
        row = self._newer[self._start]
        self._start += 1
        if 2 * self._start > len(self._newer):
            del self._newer[: self._start]
            self._start = 0
        return row


class Edge:
    """The finger at the first row of the newer half."""

    def __init__(self, rows: Rows, older: list[Row]) -> None:
        self._rows = rows
        self._older = older

    def look(self) -> Seen:
        return self._rows.first_newer().seen

    def move(self) -> None:
        self._older.append(self._rows.shift())

    def remove(self) -> None:
        self._rows.shift()


class Hand:
    """The finger of the pass over the older half."""

    def __init__(self, older: list[Row], rank: int) -> None:
        self._older = older
        self._rank = rank

    def look(self) -> Seen:
        return self._older[self._rank].seen

    def move(self) -> None:
        self._rank += 1

    def remove(self) -> None:
        del self._older[self._rank]

    def rewind(self) -> None:
        self._rank = 0
