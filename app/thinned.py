"""A history thinned for a plot: in each part of the run, the rows that a curve must not lose.

A part has 2ᵏ steps and begins at a multiple of that; k is the least with which there is room for all parts. So parts
are joined two by two while rows come, and rows thinned page by page are those thinned at once.
"""

from copy import copy

import numpy as np
import numpy.typing as npt

from app.row_columns import CURVES, PLAIN, ROW, SKIPPED, Rows

EXTREMES, ENDS = 2 * len(CURVES), 3
"""The most rows of a part, and of the ends of the run: the first, the last, and the last that is not undone."""
WIDEST = 2**54
"""The steps of a part that has all steps."""
SLACK = 8192
"""The rows that may come before they are thinned together: that takes as long for few of them."""

Indices = npt.NDArray[np.intp]


class Thinned:
    """At most 1.5 rows for each of `points`, besides those of skipped steps, of rows that come in their order.

    Kept are the ends of the run, as far as there is room and the last one first. Beside them each part has its rows
    with the least and the greatest loss and gradient norm, or its first if it has neither; the undone steps of a part
    count as a part of their own. A history that is not longer is kept whole. Memory grows with skipped steps alone.
    """

    def __init__(self, points: int) -> None:
        self.width = 1
        """The steps of a part."""
        self.count = 0
        """The rows that came, besides those of skipped steps."""
        self._bound(points)
        self._places = 0
        self._rows = np.empty(0, ROW)
        self._skipped = np.empty(0, ROW)

    def _bound(self, points: int) -> None:
        self._most = points * 3 // 2
        self._most_parts = max(0, self._most - ENDS) // EXTREMES

    def resume(self, kept: Rows, width: int, count: int) -> None:
        """Go on from what another one has kept, instead of the rows that it had taken."""
        self.add(kept)
        self.width, self.count = width, count

    def narrowed(self, points: int) -> "Thinned":
        """Return the same rows thinned for fewer points. What comes to one of both does not come to the other."""
        other = copy(self)
        other._bound(points)
        return other

    def add(self, rows: Rows) -> None:
        """Take the next rows, and note their places in them."""
        rows["place"] = np.arange(self._places, self._places + len(rows))
        self._places += len(rows)
        is_skipped = rows["kind"] == SKIPPED
        if is_skipped.any():
            self._skipped = np.concatenate([self._skipped, rows[is_skipped]])
            rows = rows[~is_skipped]
        self._rows = np.concatenate([self._rows, rows])
        self.count += len(rows)
        if len(self._rows) > self._most + SLACK:
            self._thin()

    def kept(self) -> Rows:
        """Return the rows that are kept, in their order."""
        self._thin()
        kept = np.concatenate([self._rows, self._skipped])
        in_order: Rows = kept[np.argsort(kept["place"])]
        return in_order

    def _thin(self) -> None:
        if self.count > self._most:
            self._rows = self._rows[np.union1d(self._ends(), self._extremes())]

    def _ends(self) -> Indices:
        plain = np.flatnonzero(self._rows["kind"] == PLAIN)
        return np.unique([0, *plain[-1:], len(self._rows) - 1])[-self._most :]

    def _extremes(self) -> Indices:
        """Return the indices of the rows of each part. Where there is no room for both, undone steps have none."""
        if not self._most_parts:
            return np.empty(0, np.intp)
        order = np.argsort(self._rows["kind"], kind="stable")
        columns = self._rows[[name for name in ROW.names or () if name != "row"]][order]
        while len(starts := _starts(columns, self.width)) > self._most_parts and self.width < WIDEST:
            self.width *= 2
        if len(starts) > self._most_parts:
            columns, starts = columns[: starts[self._most_parts]], starts[: self._most_parts]
        curves = [np.where(np.isfinite(columns[name]), columns[name], np.nan) for name in CURVES]
        chosen: Indices = order[np.concatenate([_least(values, starts) for x in curves for values in (x, -x)])]
        return chosen


def _starts(rows: Rows, width: int) -> Indices:
    """Return the index of the first row of each part, for rows that are sorted by kind."""
    parts, kinds = rows["step"] // width, rows["kind"]
    return np.flatnonzero(np.append(True, (parts[1:] != parts[:-1]) | (kinds[1:] != kinds[:-1])))


def _least(values: npt.NDArray[np.float64], starts: Indices) -> Indices:
    """Return the index of the least value of each part, the first one; that of its start, if it has no numbers."""
    values = np.where(np.isnan(values), np.inf, values)
    least = np.repeat(np.minimum.reduceat(values, starts), np.diff(starts, append=len(values)))
    hits = np.flatnonzero(values == least)
    return hits[np.searchsorted(hits, starts)]
