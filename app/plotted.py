"""The answer to a question for a plot: the thinned history of a session, its marks, and where its events go on."""

from functools import partial

from app.compute import Compute
from app.curves import Curves, Plot
from app.records import Records
from app.row_columns import bodies


async def plotted(
    records: Records, curves: Curves, compute: Compute, tenant: str, session_id: str, points: int
) -> bytes:
    """Return rows of the history thinned for so many points, and the marks, oldest first, as JSON.

    Its number is that of the last save before the reading: whoever follows the events after it misses none.
    """
    head = await records.head(tenant, session_id)
    plot = await curves.plot(session_id, points)
    await records.head(tenant, session_id)  # again: rows of a session that is gone by then are none
    return await compute.run_apart(partial(_written, plot, head.version))


def _written(plot: Plot, number: int) -> bytes:
    rows = b",".join(bodies(plot.thinned.kept()))
    return b'{"history":[%b],"marks":[%b],"number":%d}' % (rows, b",".join(plot.marks), number)
