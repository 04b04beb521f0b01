"""A second implementation of thinning, on one list: the rows that a store keeps of a history."""

from app.store.thinning import LOOKS, NOTABLE_SHARE, is_notable

Row = tuple[int, int, bytes]
"""The step, the version and the body of a row."""


class Thinned:
    """The rows of one session, of which at most `limit` are kept."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.rows: list[Row] = []
        self.older: list[Row] = []
        """The rows of the older half, as they were when they came there."""
        self.size, self.hand, self.end, self.stride = 0, 0, 0, 2

    def forget_after(self, step: int) -> None:
        self.rows = [row for row in self.rows if row[0] <= step]
        if len(self.rows) < self.size:
            self.older, self.size, self.hand, self.end = [], 0, 0, 0

    def add(self, row: Row) -> None:
        self.rows = sorted([*self.rows, row], key=lambda row: row[:2])
        looks, before = 0, len(self.rows)
        while len(self.rows) > self.limit and (len(self.rows) == before or looks < LOOKS):
            looks += 1
            self._look(must_go=looks >= LOOKS)

    def _look(self, *, must_go: bool) -> None:
        whole = self.limit - self.limit // 2
        is_new = len(self.rows) - self.size > whole
        if not is_new and self.hand >= self.end:
            self.hand, self.end, self.stride = 0, self.size, self.stride * 2
        rank = self.size if is_new else self.hand
        row = self.rows[rank]
        if (rank == 0 and self.limit > 1) or (not must_go and self._stays(row, is_new=is_new)):
            if is_new:
                self.size += 1
                self.older.append(row)
            else:
                self.hand += 1
            return
        del self.rows[rank]
        if not is_new:
            self.size -= 1
            self.end -= 1
            self._forget_notable(row)

    def _stays(self, row: Row, *, is_new: bool) -> bool:
        if row[0] % self.stride == 0:
            return True
        notable = sum(is_notable(body) for _, _, body in self.older)
        return is_notable(row[2]) and notable + is_new <= self.limit // NOTABLE_SHARE

    def _forget_notable(self, row: Row) -> None:
        if is_notable(row[2]):
            found = next((old for old in self.older if is_notable(old[2])), None)
            if found:
                self.older.remove(found)
