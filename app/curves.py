"""The reading of histories for plots.

A long history is read once: the store keeps its outline, and a later plot reads the rows behind that. An outline has
rows that stay as they are: no undo goes back to them, and a loaded state leaves a mark. A contribution may come so late
that it is missing there. Rows that the store has thinned away since are still in it, so spikes last.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
import orjson

from app import outline
from app.compute import Compute
from app.outline import POINTS, Outline
from app.row_columns import Rows, read
from app.store.base import Store
from app.thinned import Thinned

PAGE_ROWS = 4000
"""The rows of the history that are read at a time."""
ROW_BYTES = 256
"""The approximate length of a row."""
SETTLED = 64
"""The steps behind which rows stay as they are: more than an undo goes back."""
KEPT_ROWS = 2000
"""The rows that are read anew before an outline is kept."""
MOST_BYTES = 4 << 20
"""The longest outline that is kept. One of many skipped steps may be longer: these are in each plot."""
LOADED = b'"changed":{"step":['
"""The beginning of what the mark of a loaded state says."""


class Plot(NamedTuple):
    """A history thinned for a plot, and its marks, oldest first."""

    thinned: Thinned
    marks: list[bytes]


class Curves:
    """The curves of the sessions in a store."""

    def __init__(self, store: Store, compute: Compute) -> None:
        self._store = store
        self._compute = compute

    async def plot(self, session_id: str, points: int) -> Plot:
        """Return the history thinned for so many points, and keep an outline of it if there are many new rows."""
        loaded = _loaded(await self._store.marks(session_id))
        known = await self._outline(session_id, loaded) if points <= POINTS else None
        thinned, after = (known.thinned, known.step) if known else (Thinned(max(points, POINTS)), -1)
        count = thinned.count
        recent = await self._read(session_id, thinned, after)
        marks = await self._store.marks(session_id)
        if points <= POINTS and thinned.count >= count + KEPT_ROWS and _loaded(marks) == loaded:
            data = await self._compute.run_apart(partial(outline.write, thinned, loaded))
            if len(data) <= MOST_BYTES:
                await self._store.keep_outline(session_id, data)
        return Plot(await self._compute.run_apart(partial(_drawn, thinned, points, recent)), marks)

    async def _outline(self, session_id: str, loaded: bytes | None) -> Outline | None:
        """Return the outline that the store has, if its last row still is there."""
        data = await self._store.outline(session_id)
        known = None if data is None else await self._compute.run_apart(partial(outline.read, data))
        if known is None or known.loaded != loaded:
            return None
        there = await self._store.history(session_id, known.step - 1, 1)
        return known if there[-1:] == [known.last] else None

    async def _read(self, session_id: str, thinned: Thinned, after: int) -> list[Rows]:
        """Let `thinned` take the rows of later steps that stay as they are; return those that may change."""
        newest = await self._store.latest(session_id, 1)
        settled = orjson.loads(newest[0])["step"] - SETTLED if newest else 0
        recent = list[Rows]()
        while page := await self._store.given(session_id, after, PAGE_ROWS):
            rows = await self._compute.run(partial(read, page), ROW_BYTES * len(page))
            first = int(np.searchsorted(rows["step"], settled, side="right"))
            await self._compute.run(partial(thinned.add, rows[:first]), ROW_BYTES * first)
            recent.append(rows[first:])
            after = int(rows["step"][-1])
        return recent


def _drawn(thinned: Thinned, points: int, recent: list[Rows]) -> Thinned:
    drawn = thinned.narrowed(points)
    for rows in recent:
        drawn.add(rows)
    return drawn


def _loaded(marks: list[bytes]) -> bytes | None:
    """Return the mark of the last loaded state."""
    return next((mark for mark in reversed(marks) if LOADED in mark), None)
