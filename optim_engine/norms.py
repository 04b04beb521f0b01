"""Norms of vectors in blocks, and where a vector is not finite.

The fast way squares in the vector's own dtype and gives up where that leaves its range; then float64 decides. BLAS sums
rows that are too short for its threads: how many it has would change the last bits, and with them a clipped step.
"""

from collections.abc import Sequence
from math import inf, isfinite, sqrt

import numpy as np

from optim_engine.arrays import Array, blocks, compute_dtype, room, widened
from optim_engine.buffers import scratch

ROW = 4096
"""Elements that BLAS sums up at a time, in their own dtype; OpenBLAS shares out more than 10,000."""
SMALLEST_TRUSTED = {np.dtype(np.float32): 1e-30, np.dtype(np.float64): 1e-290}
"""Below this, a sum of squares may have lost what became zero."""


def square_sum(x: Array) -> float:
    """Σx² of one block in its compute dtype; infinite or NaN only if float64 cannot hold it or x is not finite."""
    whole = len(x) // ROW * ROW
    rows, rest = x[:whole].reshape(-1, ROW), x[whole:]
    total = float(np.multiply(rest, rest).sum())
    if whole:
        total += float(np.vecdot(rows, rows).sum(dtype=np.float64))
    if SMALLEST_TRUSTED[x.dtype] < total < inf:
        return total
    return float(np.square(x, dtype=np.float64).sum())


@np.errstate(all="ignore")
def squares(x: Array) -> float:
    """Σx² of a vector, with what `square_sum` says of each block."""
    (wide,) = scratch(1, room(len(x)), compute_dtype(x.dtype))
    return sum(square_sum(widened(x[part], wide[: part.stop - part.start])) for part in blocks(len(x)))


@np.errstate(all="ignore")
def norm(vectors: Sequence[Array], total: float | None = None) -> float:
    """The Euclidean norm of all the vectors together; not finite if an element is not, or float64 cannot hold it.

    `total` is the sum of their squares, where that is known.
    """
    total = sum(map(squares, vectors)) if total is None else total
    return sqrt(total) if 1e-290 < total < inf else _scaled_norm(vectors)


def _scaled_norm(vectors: Sequence[Array]) -> float:
    """The norm where its square leaves the range of float64."""
    largest = max(float(np.abs(x).max(initial=0)) for x in vectors)
    if largest == 0 or not isfinite(largest):
        return largest
    return largest * sqrt(sum(float(np.square(x.astype(np.float64) / largest).sum()) for x in vectors))


def first_non_finite(x: Array) -> tuple[int, ...] | None:
    """The index of the first element (in C order) that is NaN or infinite."""
    bad = ~np.isfinite(x)
    if not bad.any():
        return None
    return tuple(int(i) for i in np.unravel_index(int(bad.reshape(-1).argmax()), x.shape))
