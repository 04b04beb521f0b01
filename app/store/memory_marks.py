"""The marks of a session in memory."""

from app.store.history import MOST_MARKS, Mark, Numbered


class Marks:
    """The newest marks of one session, oldest first."""

    def __init__(self) -> None:
        self._marks: list[Numbered] = []

    def add(self, mark: Mark, number: int) -> None:
        """Keep a mark, and forget the oldest beyond `MOST_MARKS`."""
        self._marks.append(Numbered(number, *mark))
        del self._marks[:-MOST_MARKS]

    def bodies(self) -> list[bytes]:
        return [mark.body for mark in self._marks]

    def newer(self, version: int) -> list[Numbered]:
        """Return those with greater numbers."""
        return [mark for mark in self._marks if mark.number > version]
