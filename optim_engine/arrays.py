"""The dtypes that the engine takes, the dtype that it computes each of them in, and the blocks that it computes in.

bfloat16 is no dtype of NumPy's own: it is known by its name, so that any package that registers one will do.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from optim_engine import halves

Array: TypeAlias = npt.NDArray[Any]
Arrays: TypeAlias = Mapping[str, Array]

COMPUTE_DTYPES: Mapping[str, np.dtype[Any]] = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float32),
    "bfloat16": np.dtype(np.float32),
}
"""By the name of a tensor's dtype: the dtype of its moments, in which the arithmetic is done."""


@cache
def compute_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The same by the dtype itself, remembered, because a dtype is slow to say its name."""
    return COMPUTE_DTYPES[dtype.name]


BLOCK = 1 << 17
"""Elements of a block: few enough that all that a step needs of it stays in the processor's cache."""
CHUNK = 1 << 18
"""Elements of a chunk, some blocks: what is handed to a thread, and told to be filled, at a time. 1 MiB of float32."""


def flat(array: Array) -> Array:
    """The array as one vector in C order: a view where its memory allows that."""
    return array.reshape(-1)


def cut(size: int, step: int) -> Iterator[slice]:
    """The numbers below `size` in parts of `step`, but for the last one."""
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))


def widened(x: Array, wide: Array) -> Array:
    """Return the block in the compute dtype, which is `wide`'s: itself where it is in that already."""
    if x.dtype == wide.dtype:
        return x
    convert(x, wide)
    return wide


@np.errstate(all="ignore")
def convert(x: Array, target: Array) -> None:
    """Fill the target, which is contiguous, with the values of x: widened exactly; or rounded to nearest even, and
    beyond its range infinite."""
    if x.dtype == np.float32 and target.dtype == np.float16:
        halves.narrow(flat(x), target.reshape(-1, copy=False))
    elif x.dtype == np.float16 and target.dtype == np.float32:
        halves.widen(flat(x), target.reshape(-1, copy=False))
    else:
        target[...] = x


def rounded(x: Array, dtype: np.dtype[Any]) -> Array:
    """Return the array in that dtype: itself where it is in that already."""
    if x.dtype == dtype:
        return x
    narrow = np.empty(x.shape, dtype)
    convert(x, narrow)
    return narrow


def unify_nans(x: Array) -> None:
    """Give every NaN of a vector of float32 or float64 the same bits: those that a processor gives depend on it."""
    bits, nan = (np.uint32, 0x7FC00000) if x.dtype == np.float32 else (np.uint64, 0x7FF8000000000000)
    x.view(bits)[np.isnan(x)] = nan
