"""The rows of a session's history, with an array for each column: ready to plot."""

from collections.abc import Iterator
from datetime import UTC
from typing import Any, SupportsIndex, overload

import numpy as np
import numpy.typing as npt

from optim_client.documents import HistoryRow

Floats = npt.NDArray[np.float64]

FLOATS = ("loss", "lr", "grad_norm", "update_norm", "param_norm", "clip_scale", "duration_ms")
"""The columns of floating-point numbers."""


class History(list[HistoryRow]):
    """The rows of past steps, oldest first, as a list; and each column as an array, in the order of the rows.

    A number that a row does not have is NaN, as the loss of a step that was sent without one. A skipped row has the
    number of the step before it, and an undone one is no part of the state: `~history.undone` selects the others.

    Example:
        history = session.history()
        curve = list(zip(history.step, history.loss))
        best = history.loss[~history.undone].min()
    """

    @property
    def step(self) -> npt.NDArray[np.int64]:
        """Return the number of each row's step."""
        return np.fromiter((row.step for row in self), np.int64, len(self))

    @property
    def loss(self) -> Floats:
        """Return each row's loss."""
        return self._floats("loss")

    @property
    def lr(self) -> Floats:
        """Return each row's learning rate."""
        return self._floats("lr")

    @property
    def grad_norm(self) -> Floats:
        """Return the norm of each row's gradients, from before clipping."""
        return self._floats("grad_norm")

    @property
    def update_norm(self) -> Floats:
        """Return the norm of each row's update."""
        return self._floats("update_norm")

    @property
    def param_norm(self) -> Floats:
        """Return the norm of each row's parameters."""
        return self._floats("param_norm")

    @property
    def clip_scale(self) -> Floats:
        """Return the factor by which each row's gradients were clipped."""
        return self._floats("clip_scale")

    @property
    def duration_ms(self) -> Floats:
        """Return the time that the service took for each row's step, in milliseconds."""
        return self._floats("duration_ms")

    @property
    def time(self) -> npt.NDArray[np.datetime64]:
        """Return the time of each row, in UTC."""
        return np.array([row.time.astimezone(UTC).replace(tzinfo=None) for row in self], "datetime64[us]")

    @property
    def skipped(self) -> npt.NDArray[np.bool_]:
        """Return true for each row of a step that was skipped."""
        return np.fromiter((row.skipped for row in self), np.bool_, len(self))

    @property
    def undone(self) -> npt.NDArray[np.bool_]:
        """Return true for each row of a step that was undone."""
        return np.fromiter((row.undone for row in self), np.bool_, len(self))

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Return every column by its name, as a data frame takes them."""
        return {name: getattr(self, name) for name in COLUMNS}

    @overload
    def __getitem__(self, place: SupportsIndex) -> HistoryRow: ...

    @overload
    def __getitem__(self, place: slice) -> "History": ...

    def __getitem__(self, place: SupportsIndex | slice) -> "HistoryRow | History":
        found = super().__getitem__(place)
        return History(found) if isinstance(found, list) else found

    def _floats(self, name: str) -> Floats:
        return np.fromiter(self._numbers(name), np.float64, len(self))

    def _numbers(self, name: str) -> Iterator[float]:
        for row in self:
            value = getattr(row, name)
            yield np.nan if value is None else value


COLUMNS = ("step", *FLOATS, "time", "skipped", "undone")
"""The names of all columns."""
