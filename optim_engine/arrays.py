"""The dtypes that the engine accepts, the dtype that it computes each of them in, and the size of its blocks.

NumPy has no bfloat16 of its own. The engine knows it by name, so that any package that registers one will do.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from optim_engine import halves

Array: TypeAlias = npt.NDArray[Any]
Arrays: TypeAlias = Mapping[str, Array]
"""Arrays by name: of a tensor, or of a slot."""

COMPUTE_DTYPES: Mapping[str, np.dtype[Any]] = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float32),
    "bfloat16": np.dtype(np.float32),
}
"""The compute dtype by the name of a tensor's dtype: its moments are kept in it, and the arithmetic is done in it."""


@cache
def compute_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the compute dtype of a tensor's dtype; cached, because a dtype computes its name each time."""
    return COMPUTE_DTYPES[dtype.name]


CHUNK = 1 << 18
"""Elements of a chunk, which a thread updates, and `filled` reports, at a time. 1 MiB of float32."""
BLOCK = 1 << 18
"""Elements of a block, for which NumPy is called once for each operation: as many as a chunk has."""


def flat(array: Array) -> Array:
    """Return the array as one vector in C order: a view where its memory allows that, otherwise a copy."""
    return array.reshape(-1)


def cut(size: int, step: int) -> Iterator[slice]:
    """Yield slices of `step` that cover `range(size)`; the last one may be shorter."""
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))


def widened(x: Array, wide: Array) -> Array:
    """Return x in the dtype of `wide`: x itself if it has that dtype, otherwise `wide`, filled with x."""
    if x.dtype == wide.dtype:
        return x
    convert(x, wide)
    return wide


@np.errstate(all="ignore")
def convert(x: Array, target: Array) -> None:
    """Fill the contiguous target with the values of x: widened exactly, or rounded to nearest even.

    Values beyond the target's range become infinite.
    """
    if x.dtype == np.float32 and target.dtype == np.float16:
        halves.narrow(flat(x), target.reshape(-1, copy=False))
    elif x.dtype == np.float16 and target.dtype == np.float32:
        halves.widen(flat(x), target.reshape(-1, copy=False))
    else:
        target[...] = x


def rounded(x: Array, dtype: np.dtype[Any]) -> Array:
    """Return x rounded to that dtype; x itself if it has that dtype."""
    if x.dtype == dtype:
        return x
    narrow = np.empty(x.shape, dtype)
    convert(x, narrow)
    return narrow


LARGEST_FACTOR = 2.0**100


def multiply(x: Array, factor: float, out: Array) -> None:
    """Fill `out` with x times a factor, which may be beyond float32's range if the product is within."""
    while LARGEST_FACTOR < factor < np.inf:  # a power of two: exact
        x, factor = np.multiply(x, LARGEST_FACTOR, out=out), factor / LARGEST_FACTOR
    np.multiply(x, factor, out=out)


def maximum(x: Array, y: Array | float, out: Array) -> None:
    """Fill `out` with the larger of each x and y; of −0 and 0, of which NumPy takes either, with 0."""
    np.maximum(x, y, out=out)
    np.add(out, 0.0, out=out)


def root(x: Array, ε: Array | float, out: Array) -> Array:
    """Return `out`, filled with √x + ε; it may be x."""
    return np.add(np.sqrt(x, out=out), ε, out=out)


def unify_nans(x: Array) -> None:
    """Give every NaN in a vector of float32 or float64 the same bits, because processors make different ones."""
    bits, nan = (np.uint32, 0x7FC00000) if x.dtype == np.float32 else (np.uint64, 0x7FF8000000000000)
    x.view(bits)[np.isnan(x)] = nan
