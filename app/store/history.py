"""The history of a session, and the verbs of a store about it.

The history has a small row for each step. Beside the rows are the *marks* of what happened between steps: an undo, or a
change of settings. A row and a mark have the version of the save that wrote them as their number. The *outline* is what
the service keeps of a long history, so that it need not read it again: what it means is its own.

Rows are read in the order of their steps, and of their numbers within a step. An undo lets later saves write rows of
earlier steps, but of at most `MOST_UNDO` steps back. So a row has a greater number than all rows of steps that are more
than `MOST_UNDO` below its own, and all with a greater number than some row's are of steps from `MOST_UNDO` below it on.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from app.store.generation import MOST_UNDO
from app.store.lazy import Lazy

MOST_MARKS = 1000
"""The number of marks that are kept of a session, the newest ones."""
STEP = "step"
"""The kind of a numbered row; that of a mark is its own."""


@dataclass(frozen=True)
class HistoryRow:
    """One row of a session's history: its step, its bytes, and whether it is notable (`thinning`).

    `curves` are its loss and gradient norm, if they are known without reading the bytes.
    """

    step: int
    body: Lazy = Lazy()
    is_notable: bool = False
    curves: tuple[float | None, float | None] | None = None


class Mark(NamedTuple):
    """One mark: its kind, a word such as `undo`, and its bytes."""

    kind: str
    body: bytes


class Numbered(NamedTuple):
    """A row or a mark with its number; sorts by that."""

    number: int
    kind: str
    body: bytes


class Placed(NamedTuple):
    """A row at its place in the order of reading; its bytes are written when they are asked for."""

    step: int
    number: int
    body: Callable[[], bytes]


class HistoryStore(ABC):
    """The verbs of a store about histories. All may raise `StoreUnavailable`."""

    @abstractmethod
    async def history(self, session_id: str, after: int, limit: int) -> list[bytes]:
        """Return `limit` rows of steps after `after`, oldest first, and all others of the last one's step."""

    async def given(self, session_id: str, after: int, limit: int) -> Sequence[HistoryRow | bytes]:
        """Return the same rows as `history`. One that is not written yet may be as its save gave it."""
        return await self.history(session_id, after, limit)

    @abstractmethod
    async def latest(self, session_id: str, count: int) -> list[bytes]:
        """Return the newest `count` rows of the history, oldest first."""

    @abstractmethod
    async def newer(self, session_id: str, version: int, limit: int) -> list[Numbered]:
        """Return the first `limit` of the rows and marks with numbers above `version`, in the order of their numbers.

        None is left out that was there when the last of them was. The time depends on how many are newer, not on how
        many are older.
        """

    @abstractmethod
    async def marks(self, session_id: str) -> list[bytes]:
        """Return the marks that are kept, oldest first."""

    @abstractmethod
    async def outline(self, session_id: str) -> bytes | None:
        """Return the outline that is kept, `None` if there is none."""

    @abstractmethod
    async def keep_outline(self, session_id: str, outline: bytes) -> None:
        """Keep an outline in place of an earlier one, for as long as the session lives; none of a session that is gone.

        It changes no version, and the store need not sync it.
        """


def last_older(version: int, first: int, last: int, number_at: Callable[[int], int]) -> int:
    """Return a place whose row has a number of at most `version`, and the row at the next place a greater one.

    It is `first` if there is none. Places are any whole numbers in the order of reading; they are looked at from the
    last one backwards, in steps that double, and then in halves.
    """
    low, high, gap = last, last + 1, 1
    while low > first and number_at(low) > version:
        high, low, gap = low, max(first, low - gap), 2 * gap
    while high - low > 1:
        middle = (low + high) // 2
        if number_at(middle) > version:
            high = middle
        else:
            low = middle
    return low


def newer_rows(rows: Iterable[Placed], version: int, limit: int) -> list[Numbered]:
    """Return the first `limit` rows above `version`, in the order of their numbers.

    `rows` begin `MOST_UNDO` steps below a row of at most `version`, or with the first row.
    """
    found, last_step = list[Placed](), None
    for row in rows:
        if last_step is not None and row.step > last_step:
            break
        if row.number > version:
            found.append(row)
            if len(found) >= limit and last_step is None:
                last_step = row.step + MOST_UNDO  # rows behind it have greater numbers than these
    found.sort(key=lambda row: row.number)
    return [Numbered(row.number, STEP, row.body()) for row in found[:limit]]


def merged(rows: Iterable[Numbered], marks: Iterable[Numbered], limit: int) -> list[Numbered]:
    """Return the first `limit` of both."""
    return sorted((*rows, *marks), key=lambda each: each.number)[:limit]
