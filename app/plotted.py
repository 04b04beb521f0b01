"""The reading of a history for a plot: thinned, page by page, with its marks."""

from functools import partial

import orjson

from app.compute import Compute
from app.records import Records
from app.thinned import Thinned

PAGE_ROWS = 2000
"""The rows of the history that are read at a time."""


async def plotted(records: Records, compute: Compute, tenant: str, session_id: str, points: int) -> bytes:
    """Return rows of the history thinned for so many points, and the marks, oldest first, as JSON."""
    await records.head(tenant, session_id)
    thinned, after = Thinned(points), -1
    while rows := await records.store.history(session_id, after, PAGE_ROWS):
        after = orjson.loads(rows[-1])["step"]
        await compute.run(partial(thinned.add, rows), sum(map(len, rows)))
    marks = await records.store.marks(session_id)
    await records.head(tenant, session_id)  # again: rows of a session that is gone by then are none
    return await compute.run_apart(partial(_written, thinned, marks))


def _written(thinned: Thinned, marks: list[bytes]) -> bytes:
    return b'{"history":[%b],"marks":[%b]}' % (b",".join(thinned.rows()), b",".join(marks))
