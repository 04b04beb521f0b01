"""A history thinned for a plot: in each part of the run, the rows that a curve must not lose."""

import math
from collections.abc import Sequence
from typing import Any

import orjson

CURVES = ("loss", "grad_norm")
"""The numbers whose extremes are kept."""
EXTREMES = 2 * len(CURVES)


class Thinned:
    """At most 1.5 rows for each of `points`, besides those of skipped steps, of rows that come in their order.

    Kept are the first, the last and, in each of equal parts of the steps up to `last_step`, those with the least and
    the greatest loss and gradient norm, or its first if it has neither. A history that is not longer is kept whole.
    Memory does not grow with the rows.
    """

    def __init__(self, points: int, last_step: int) -> None:
        self._most = points * 3 // 2
        self._parts = max(1, (self._most - 2) // EXTREMES)
        self._last_step = last_step
        self._first_step: int | None = None
        self._count = 0
        self._all: list[bytes] | None = []
        self._skipped: dict[int, bytes] = {}
        self._ends: dict[int, bytes] = {}
        self._found: dict[tuple[int, int], tuple[float, int, bytes]] = {}
        """By part and extreme: the number (its negative, for a greatest one), the place and the row."""
        self._plain: dict[int, tuple[int, bytes]] = {}
        """The first row of each part."""

    def add(self, rows: Sequence[bytes]) -> None:
        """Take the next rows, as JSON."""
        for body, row in zip(rows, orjson.loads(b"[%b]" % b",".join(rows)), strict=True):
            self._add(body, row)

    def _add(self, body: bytes, row: dict[str, Any]) -> None:
        place = self._count
        self._count += 1
        if row["skipped"]:
            self._skipped[place] = body
            return
        if self._first_step is None:
            self._first_step = row["step"]
            self._ends[place] = body
        self._last = place, body
        if self._all is not None:
            self._all.append(body)
            if len(self._all) > self._most:
                self._all = None
        part = self._part(row["step"], self._first_step)
        self._plain.setdefault(part, (place, body))
        for i, name in enumerate(CURVES):
            value = row[name]
            if not isinstance(value, int | float) or not math.isfinite(value):
                continue
            for key, number in (((part, 2 * i), value), ((part, 2 * i + 1), -value)):
                if key not in self._found or number < self._found[key][0]:
                    self._found[key] = number, place, body

    def _part(self, step: int, first: int) -> int:
        steps = max(1, self._last_step - first + 1)
        return min(self._parts - 1, max(0, (step - first) * self._parts // steps))

    def rows(self) -> list[bytes]:
        """Return the rows that are kept, in their order."""
        if self._first_step is None:
            return list(self._skipped.values())
        kept = dict(self._skipped)
        if self._all is not None:
            places = (place for place in range(self._count) if place not in self._skipped)
            kept |= zip(places, self._all, strict=True)
        else:
            kept |= self._ends
            kept |= {place: body for _, place, body in self._found.values()}
            with_extremes = {part for part, _ in self._found}
            kept |= {place: body for part, (place, body) in self._plain.items() if part not in with_extremes}
            kept[self._last[0]] = self._last[1]
        return [kept[place] for place in sorted(kept)]
