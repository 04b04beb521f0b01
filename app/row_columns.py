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
    """Return the rows of a page, without their places in the history."""
    found = np.empty(len(page), ROW)
    found["row"] = page
    is_known = [isinstance(row, HistoryRow) and row.curves is not None for row in page]
    if all(is_known):
        _take(found)
    elif not any(is_known):
        _parse(found)
    else:
        chosen = np.array(is_known)
        taken, parsed = found[chosen], found[~chosen]
        _take(taken)
        _parse(parsed)
        found[chosen], found[~chosen] = taken, parsed
    return found


def bodies(rows: Rows) -> list[bytes]:
    """Return rows as JSON."""
    return [row if isinstance(row, bytes) else row.body for row in rows["row"].tolist()]


def _take(found: Rows) -> None:
    """Fill the columns of rows that were given with their curves."""
    rows: list[HistoryRow] = found["row"].tolist()
    found["kind"] = [SKIPPED if row.is_notable else PLAIN for row in rows]
    found["step"] = [row.step for row in rows]
    for i, name in enumerate(CURVES):
        found[name] = [row.curves[i] for row in rows if row.curves]


def _parse(found: Rows) -> None:
    """Fill the columns of rows that are JSON."""
    rows = orjson.loads(b"[%b]" % b",".join(bodies(found)))
    found["kind"] = [SKIPPED if row["skipped"] else UNDONE if "undone" in row else PLAIN for row in rows]
    for name in ("step", *CURVES):
        found[name] = [row[name] for row in rows]
