"""The dtypes that the engine takes, and the dtype that it computes each of them in.

bfloat16 is no dtype of NumPy's own: it is known by its name, so that any package that registers one will do.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Arrays: TypeAlias = Mapping[str, Array]

COMPUTE_DTYPES: Mapping[str, np.dtype[Any]] = {
    "float64": np.dtype(np.float64),
    "float32": np.dtype(np.float32),
    "float16": np.dtype(np.float32),
    "bfloat16": np.dtype(np.float32),
}
"""By the name of a tensor's dtype: the dtype of its moments, in which the arithmetic is done."""


def flat(array: Array) -> Array:
    """The array as one vector in C order: a view where its memory allows that."""
    return array.reshape(-1)
