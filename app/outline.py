"""The outline of a long history: what plots need of its older rows, in the bytes that a store keeps of it.

The bytes are a line of JSON, the columns of the rows that are kept, and these rows.
"""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import orjson

from app.row_columns import CURVES, ROW, Rows, bodies
from app.thinned import Thinned

POINTS = 2000
"""The points of the largest plot that an outline is good for."""
FORMAT = 1
COLUMNS = np.dtype([("kind", "u1"), ("step", "<i8"), *((name, "<f8") for name in CURVES), ("size", "<u4")])


class Outline(NamedTuple):
    """The first rows of a history, thinned for `POINTS`: those up to a step, and the last one of them.

    `loaded` is the mark of the last loaded state, after which the rows may be others.
    """

    thinned: Thinned
    step: int
    last: bytes
    loaded: bytes | None


def write(thinned: Thinned, loaded: bytes | None) -> bytes:
    """Return the outline of rows, of which there is one at least, as bytes."""
    rows = thinned.kept()
    texts = bodies(rows)
    columns = np.empty(len(rows), COLUMNS)
    for name in ("kind", "step", *CURVES):
        columns[name] = rows[name]
    columns["size"] = [len(text) for text in texts]
    head = {
        "format": FORMAT,
        "points": POINTS,
        "width": thinned.width,
        "count": thinned.count,
        "loaded": None if loaded is None else loaded.decode(),
        "rows": len(rows),
    }
    return b"%b\n%b%b" % (orjson.dumps(head), columns.tobytes(), b"".join(texts))


def read(data: bytes) -> Outline | None:
    """Return the outline in these bytes; `None` if another version of the service wrote them."""
    line, _, rest = data.partition(b"\n")
    head = orjson.loads(line)
    if (head["format"], head["points"]) != (FORMAT, POINTS):
        return None
    rows = _rows(rest, head["rows"])
    step, last = int(rows["step"][-1]), rows["row"][-1]
    thinned = Thinned(POINTS)
    thinned.resume(rows, head["width"], head["count"])
    return Outline(thinned, step, last, None if head["loaded"] is None else head["loaded"].encode())


def _rows(data: bytes, count: int) -> Rows:
    columns = np.frombuffer(data, COLUMNS, count)
    ends = columns["size"].cumsum(dtype=np.int64) + columns.nbytes
    rows = np.empty(count, ROW)
    for name in ("kind", "step", *CURVES):
        rows[name] = columns[name]
    rows["row"] = [data[start:end] for start, end in pairwise([columns.nbytes, *ends.tolist()])]
    return rows
