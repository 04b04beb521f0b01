"""The reading of a history for a plot: thinned, page by page, with its marks."""

from functools import partial

from app.compute import Compute
from app.records import Records
from app.row_columns import read
from app.thinned import Thinned

PAGE_ROWS = 4000
"""The rows of the history that are read at a time."""


async def plotted(records: Records, compute: Compute, tenant: str, session_id: str, points: int) -> bytes:
    """Return rows of the history thinned for so many points, and the marks, oldest first, as JSON."""
    await records.head(tenant, session_id)
    thinned, after = Thinned(points), -1
    while page := await records.store.given(session_id, after, PAGE_ROWS):
        rows = await compute.run_apart(partial(read, page))
        await compute.run_apart(partial(thinned.add, rows))
        after = int(rows["step"][-1])
    marks = await records.store.marks(session_id)
    await records.head(tenant, session_id)  # again: rows of a session that is gone by then are none
    return await compute.run_apart(partial(_written, thinned, marks))


def _written(thinned: Thinned, marks: list[bytes]) -> bytes:
    return b'{"history":[%b],"marks":[%b]}' % (b",".join(thinned.rows()), b",".join(marks))
