"""The columns of a history that thin it for a plot, read from its rows a page at a time."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import orjson

from app.store.history import HistoryRow

CURVES = ("loss", "grad_norm")
"""The numbers whose extremes are kept."""
PLAIN, UNDONE, SKIPPED = range(3)
ROW = np.dtype([("place", "i8"), ("kind", "u1"), ("step", "i8"), *((name, "f8") for name in CURVES), ("row", "O")])

Rows = npt.NDArray[np.void]
"""Rows with their columns: an array of `ROW`."""


def read(page: Sequence[HistoryRow | bytes]) -> Rows:
    """Return the rows of a page; their places count from 0."""
    found = np.empty(len(page), ROW)
    found["place"] = np.arange(len(page))
    found["row"] = page
    is_known = np.array([not isinstance(row, bytes) and row.curves is not None for row in page], bool)
    _take(found, is_known)
    _parse(found, ~is_known)
    return found


def bodies(rows: Rows) -> list[bytes]:
    """Return rows as JSON."""
    return [row if isinstance(row, bytes) else row.body for row in rows["row"].tolist()]


def _take(found: Rows, chosen: npt.NDArray[np.bool_]) -> None:
    """Fill the columns of rows that were given with their curves. No list of pairs: the collector would look at it."""
    rows: list[HistoryRow] = found["row"][chosen].tolist()
    found["kind"][chosen] = [SKIPPED if row.is_notable else PLAIN for row in rows]
    found["step"][chosen] = [row.step for row in rows]
    for i, name in enumerate(CURVES):
        found[name][chosen] = [row.curves[i] for row in rows if row.curves]


def _parse(found: Rows, chosen: npt.NDArray[np.bool_]) -> None:
    """Fill the columns of rows that are JSON."""
    rows = orjson.loads(b"[%b]" % b",".join(bodies(found[chosen])))
    found["kind"][chosen] = [SKIPPED if row["skipped"] else UNDONE if "undone" in row else PLAIN for row in rows]
    for name in ("step", *CURVES):
        found[name][chosen] = [row[name] for row in rows]
