"""The curves of one session while it is watched: its last points, at most so many, and its undos."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from optim_client import Event, HistoryRow

POINTS = 2_000
"""The most points of the past; as many again may follow before every second one is dropped."""
SPEED_POINTS = 32


class Point(NamedTuple):
    """A step that stayed."""

    step: int
    loss: float
    lr: float
    grad_norm: float
    seconds: float


class Curves:
    """The points of one session, oldest first, and the steps that were undone."""

    def __init__(self, rows: "list[HistoryRow]") -> None:
        self.points: list[Point] = []
        self.undone: list[int] = []
        self.is_over = False
        """True once the session is gone."""
        for row in rows:
            self._add(row)

    def take(self, event: "Event") -> None:
        """Add a step; after an undo, or a state that was loaded, drop the steps that are gone."""
        if event.row is not None:
            self._add(event.row)
            return
        while self.points and self.points[-1].step > event.step:
            self.points.pop()
        if event.mark is not None and event.mark.undone is not None:
            self.undone.append(event.mark.undone)

    def column(self, name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Return the steps, and their values of that name."""
        steps = np.array([point.step for point in self.points], np.float64)
        return steps, np.array([getattr(point, name) for point in self.points], np.float64)

    @property
    def speed(self) -> float | None:
        """Return the steps a second of late; `None` if there are too few."""
        late = self.points[-SPEED_POINTS:]
        seconds = late[-1].seconds - late[0].seconds if late else 0.0
        return (late[-1].step - late[0].step) / seconds if seconds > 0 else None

    def _add(self, row: "HistoryRow") -> None:
        if row.undone:
            self.undone.append(row.step)
        elif not row.skipped:
            loss = np.nan if row.loss is None else row.loss
            self.points.append(Point(row.step, loss, row.lr, row.grad_norm, row.time.timestamp()))
        if len(self.points) > 2 * POINTS:
            del self.points[1:-SPEED_POINTS:2]
        del self.undone[:-POINTS]
