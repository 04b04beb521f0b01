"""Norms of vectors in blocks, and where a vector is not finite.

The fast way squares in the vector's own dtype and gives up where that leaves its range; then float64 decides. Plain NumPy
sums, no BLAS: how many threads BLAS has would change the last bits, and with them a clipped step.
"""

from collections.abc import Iterable
from math import inf, isfinite, sqrt

import numpy as np

from optim_engine.arrays import COMPUTE_DTYPES, Array

BLOCK = 1 << 15
"""Elements of a block: few enough that all that a step needs of it stays in the processor's cache."""

SMALLEST_TRUSTED = {np.dtype(np.float32): 1e-30, np.dtype(np.float64): 1e-290}
"""Below this, a sum of squares may have lost what became zero."""


def square_sum(x: Array, tmp: Array) -> float:
    """Σx² of one block in its compute dtype; infinite or NaN only if float64 cannot hold it or x is not finite."""
    total = float(np.multiply(x, x, out=tmp).sum())
    if SMALLEST_TRUSTED[x.dtype] < total < inf:
        return total
    return float(np.square(x, dtype=np.float64).sum())


def norm(vectors: Iterable[Array]) -> float:
    """The Euclidean norm of all the vectors together; NaN or infinite exactly where an element is."""
    vectors = list(vectors)
    total = 0.0
    for x in vectors:
        dtype = COMPUTE_DTYPES[x.dtype.name]
        tmp = np.empty(min(len(x), BLOCK), dtype)
        for start in range(0, len(x), BLOCK):
            block = x[start : start + BLOCK].astype(dtype, copy=False)
            total += square_sum(block, tmp[: len(block)])
    if total == 0 or 1e-290 < total < inf:
        return sqrt(total)
    largest = max((float(np.abs(x).max()) for x in vectors if len(x)), default=0.0)
    if largest == 0 or not isfinite(largest):
        return largest
    return largest * sqrt(sum(float(np.square(x.astype(np.float64) / largest).sum()) for x in vectors))


def first_non_finite(x: Array) -> tuple[int, ...] | None:
    """The index of the first element (in C order) that is NaN or infinite."""
    bad = ~np.isfinite(x)
    if not bad.any():
        return None
    return tuple(int(i) for i in np.unravel_index(int(bad.reshape(-1).argmax()), x.shape))
