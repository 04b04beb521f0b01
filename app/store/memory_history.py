"""The histories of sessions in memory: the rows and the marks of each."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial

from app.store.base import Save
from app.store.generation import MOST_UNDO, ReplacedRow
from app.store.history import HistoryRow, HistoryStore, Numbered, Placed, last_older, merged, newer_rows
from app.store.memory_marks import Marks
from app.store.memory_rows import Row, Rows
from app.store.stamp import Stamp
from app.store.thinning import is_notable


class History:
    """The history of one session."""

    def __init__(self) -> None:
        self._rows = Rows()
        self.marks = Marks()
        self.outline: bytes | None = None

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

    def after(self, step: int, limit: int) -> list[HistoryRow]:
        """Return `limit` rows of later steps, and all others of the last one's step."""
        start = self._rows.rank(step + 1)
        page = self._rows.between(start, start + limit)
        if page:
            page = self._rows.between(start, self._rows.rank(page[-1].step + 1))
        return [row.given for row in page]

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


class Histories(HistoryStore):
    """The verbs of a store about the histories in its memory."""

    def __init__(self) -> None:
        self._histories: defaultdict[str, History] = defaultdict(History)

    @abstractmethod
    def _held(self, session_id: str) -> Stamp | None:
        """Return the stamp of a session that exists and has not expired."""

    async def history(self, session_id: str, after: int, limit: int) -> list[bytes]:
        return [row.body for row in await self.given(session_id, after, limit)]

    async def given(self, session_id: str, after: int, limit: int) -> list[HistoryRow]:
        return self._histories[session_id].after(after, limit) if self._held(session_id) else []

    async def latest(self, session_id: str, count: int) -> list[bytes]:
        return self._histories[session_id].latest(count) if self._held(session_id) else []

    async def newer(self, session_id: str, version: int, limit: int) -> list[Numbered]:
        return self._histories[session_id].newer(version, limit) if self._held(session_id) else []

    async def marks(self, session_id: str) -> list[bytes]:
        return self._histories[session_id].marks.bodies() if self._held(session_id) else []

    async def outline(self, session_id: str) -> bytes | None:
        return self._histories[session_id].outline if self._held(session_id) else None

    async def keep_outline(self, session_id: str, outline: bytes) -> None:
        if self._held(session_id):
            self._histories[session_id].outline = outline
