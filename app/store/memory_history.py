"""The history of a session in memory: its rows and its marks."""

from collections.abc import Iterable, Iterator
from functools import partial

from app.store.base import Save
from app.store.generation import MOST_UNDO, ReplacedRow
from app.store.history import HistoryRow, Numbered, Placed, last_older, merged, newer_rows
from app.store.memory_marks import Marks
from app.store.memory_rows import Row, Rows
from app.store.thinning import is_notable


class History:
    """The history of one session."""

    def __init__(self) -> None:
        self._rows = Rows()
        self.marks = Marks()

    def take(self, save: Save, limit: int) -> None:
        """Forget, replace and add rows as the save asks, and keep its mark."""
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
            rank = self._rows.rank(step, version)
            if rank < len(self._rows) and self._rows[rank][:2] == (step, version):
                self._rows.put(Row(step, version, HistoryRow(step, body, is_notable(body))))

    def forget_after(self, step: int) -> None:
        """Remove the rows of later steps."""
        self._rows.cut(self._rows.rank(step + 1))

    def add(self, row: HistoryRow, version: int, limit: int) -> None:
        """Keep a row, and thin all of them to `limit`."""
        self._rows.put(Row(row.step, version, row))
        self._rows.thin(limit)

    def after(self, step: int, limit: int) -> list[bytes]:
        """Return `limit` rows of later steps, and all others of the last one's step."""
        start = self._rows.rank(step + 1)
        page = self._rows.between(start, start + limit)
        if page:
            page = self._rows.between(start, self._rows.rank(page[-1].step + 1))
        return [row.given.body for row in page]

    def latest(self, count: int) -> list[bytes]:
        """Return the last `count` rows."""
        return [row.given.body for row in self._rows.between(max(0, len(self._rows) - count), len(self._rows))]

    def newer(self, version: int, limit: int) -> list[Numbered]:
        """Return the first `limit` of the rows and marks with greater numbers."""
        rows = newer_rows(self._above(version), version, limit) if self._rows else []
        return merged(rows, self.marks.newer(version), limit)

    def _above(self, version: int) -> Iterator[Placed]:
        """Yield the rows of `newer_rows`."""
        rank = last_older(version, 0, len(self._rows) - 1, lambda rank: self._rows[rank].version)
        for i in range(self._rows.rank(self._rows[rank].step - MOST_UNDO), len(self._rows)):
            step, number, given = self._rows[i]
            yield Placed(step, number, partial(getattr, given, "body"))
