"""Curves in characters: dots of braille, two by four in a cell. Knows no terminal, and of colours only the names."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from app.commands.output import number

Floats = npt.NDArray[np.float64]
Line = list[tuple[str, str]]
"""A line as pieces of text, each with its style."""

DOTS = np.array([[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]])
"""The bits of a cell's dots, by row and column."""
BLANK = 0x2800
LABEL = 10
"""The width of the numbers beside a plot."""
MARK = "↶"
DIM = "dim"


class Curve(NamedTuple):
    """A line from point to point, by rising x. Points that are not finite are left out."""

    x: Floats
    y: Floats
    style: str


def plot(
    title: str, curves: Sequence[Curve], marks: Sequence[tuple[float, str]], width: int, height: int
) -> list[Line]:
    """Return a plot of so many lines: its title, the curves, and an axis with a mark at each x of `marks`."""
    found = [Curve(x[fine], y[fine], style) for x, y, style in curves for fine in [np.isfinite(y)]]
    found = [curve for curve in found if curve.x.size]
    columns, rows = max(1, width - LABEL - 1), max(1, height - 2)
    lines: list[Line] = [[(f"{'':{LABEL}} {title}"[:width], "bold")]]
    if not found:
        return [*lines, *([] for _ in range(rows)), [(f"{'':{LABEL}} no values yet", DIM)]]
    left, right = _limits([curve.x for curve in found])
    low, high = _limits([curve.y for curve in found])
    cells, styles = _cells(found, (left, right), (low, high), columns, rows)
    for row in range(rows):
        label = number(high) if row == 0 else number(low) if row == rows - 1 else ""
        drawn = [(chr(BLANK + cell), style) for cell, style in zip(cells[row], styles[row], strict=True)]
        lines.append([(f"{label:>{LABEL}} ", DIM), *_joined(drawn)])
    return [*lines, _axis(left, right, marks, columns)]


def _limits(values: Sequence[Floats]) -> tuple[float, float]:
    """Return the least and the greatest value, apart from each other."""
    low, high = min(float(each.min()) for each in values), max(float(each.max()) for each in values)
    return (low, high) if low < high else (low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2)


def _cells(
    curves: Sequence[Curve], across: tuple[float, float], up: tuple[float, float], columns: int, rows: int
) -> tuple[npt.NDArray[np.int64], list[list[str]]]:
    """Return the dots of each cell, and the style of the last curve in it."""
    cells = np.zeros((rows, columns), np.int64)
    styles = [[""] * columns for _ in range(rows)]
    for curve in curves:
        x = _scaled(curve.x, across, 2 * columns - 1)
        y = _scaled(curve.y, up, 4 * rows - 1)
        for at, below, above in _spans(x, y):
            for dot in range(4 * rows - 1 - above, 4 * rows - below):
                cells[dot // 4, at // 2] |= DOTS[dot % 4, at % 2]
                styles[dot // 4][at // 2] = curve.style
    return cells, styles


def _scaled(values: Floats, limits: tuple[float, float], most: int) -> Floats:
    low, high = limits
    return (values / (high - low) - low / (high - low)) * most


def _spans(x: Floats, y: Floats) -> list[tuple[int, int, int]]:
    """Return the columns of dots that a line crosses, each with its lowest and its highest dot."""
    first, last = round(x[0]), round(x[-1])
    grid = np.arange(first, last + 1)
    middle = np.interp(grid, x, y)
    low, high = middle.copy(), middle.copy()
    at = np.clip(np.rint(x).astype(int) - first, 0, last - first)
    np.minimum.at(low, at, y)
    np.maximum.at(high, at, y)
    between = (middle[1:] + middle[:-1]) / 2
    for side in (slice(None, -1), slice(1, None)):
        low[side] = np.minimum(low[side], np.ceil(between))
        high[side] = np.maximum(high[side], np.floor(between))
    return list(zip(grid.tolist(), np.rint(low).astype(int).tolist(), np.rint(high).astype(int).tolist(), strict=True))


def _axis(left: float, right: float, marks: Sequence[tuple[float, str]], columns: int) -> Line:
    """Return the axis: the first and the last x, and the marks that are between them."""
    start, end = f"{left:,.0f}", f"{right:,.0f}"
    cells = [(char, DIM) for char in f"{start}{end:>{max(0, columns - len(start))}}"[:columns]]
    for x, style in marks:
        if left <= x <= right:
            cells[min(round((x - left) / (right - left) * (columns - 1)), len(cells) - 1)] = (MARK, style)
    return [(" " * (LABEL + 1), ""), *_joined(cells)]


def _joined(cells: Line) -> Line:
    """Return the line with neighbours of one style as one piece."""
    return [("".join(text for text, _ in run), style) for style, run in groupby(cells, lambda cell: cell[1])]
