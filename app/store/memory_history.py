"""The history of a session in memory."""

import bisect
from collections.abc import Iterable, Iterator
from functools import partial
from typing import NamedTuple

from app.store.base import Save
from app.store.generation import MOST_UNDO, ReplacedRow
from app.store.history import HistoryRow, Numbered, Placed, last_older, merged, newer_rows
from app.store.memory_marks import Marks


class Row(NamedTuple):
    """A row of the history: sorts in the order of reading, by its step and the version that wrote it."""

    step: int
    version: int
    given: HistoryRow


class History:
    """The history of one session."""

    def __init__(self) -> None:
        self._rows: list[Row] = []
        self.marks = Marks()

    def take(self, save: Save, limit: int) -> None:
        """Forget, replace and add rows as the save asks."""
        if save.forget_after is not None:
            self.forget_after(save.forget_after)
        if save.undone or save.ledger:
            self.replace(save.replaced)
        if save.row:
            self.add(save.row, save.head.version, limit)
        if save.mark:
            self.marks.add(save.mark, save.head.version)

    def replace(self, rows: Iterable[ReplacedRow]) -> None:
        """Replace those rows that are kept."""
        for step, version, body in rows:
            i = bisect.bisect_left(self._rows, (step, version))
            if i < len(self._rows) and self._rows[i][:2] == (step, version):
                self._rows[i] = Row(step, version, HistoryRow(step, body))

    def forget_after(self, step: int) -> None:
        """Remove the rows of later steps."""
        del self._rows[bisect.bisect_left(self._rows, (step + 1,)) :]

    def add(self, row: HistoryRow, version: int, limit: int) -> None:
        """Keep a row, and of all rows the latest `limit`."""
        place = Row(row.step, version, row)
        if self._rows and place < self._rows[-1]:
            bisect.insort(self._rows, place)
        else:
            self._rows.append(place)
        del self._rows[:-limit]

    def after(self, step: int, limit: int) -> list[bytes]:
        """Return `limit` rows of later steps, and all others of the last one's step."""
        start = bisect.bisect_left(self._rows, (step + 1,))
        page = self._rows[start : start + limit]
        if page:
            page = self._rows[start : bisect.bisect_left(self._rows, (page[-1].step + 1,))]
        return [row.given.body for row in page]

    def latest(self, count: int) -> list[bytes]:
        """Return the last `count` rows."""
        return [row.given.body for row in self._rows[max(0, len(self._rows) - count) :]]

    def newer(self, version: int, limit: int) -> list[Numbered]:
        """Return the first `limit` of the rows and marks with greater numbers."""
        rows = newer_rows(self._above(version), version, limit) if self._rows else []
        return merged(rows, self.marks.newer(version), limit)

    def _above(self, version: int) -> Iterator[Placed]:
        """Yield the rows of `newer_rows`."""
        rank = last_older(version, 0, len(self._rows) - 1, lambda rank: self._rows[rank].version)
        for i in range(bisect.bisect_left(self._rows, (self._rows[rank].step - MOST_UNDO,)), len(self._rows)):
            step, number, given = self._rows[i]
            yield Placed(step, number, partial(getattr, given, "body"))
