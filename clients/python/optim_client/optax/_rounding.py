"""Updates whose sum with a parameter is the new parameter, and the elements where no sum is. NumPy alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 15
"""Elements in a block: each pass over a block finds it in the cache."""

Array = NDArray[Any]


@dataclass(frozen=True)
class Rest:
    """The elements that a sum misses: where they are, the bits of the sum, and those of the answer."""

    at: NDArray[np.intp]
    sums: Array
    answers: Array

    def restored(self, param: Array) -> Array:
        """Return the parameter with the answer's bits, wherever it is the sum. It is copied if anything changes."""
        stands = bits(param)[self.at] == self.sums
        if not stands.any():
            return param
        exact = param.copy()
        bits(exact)[self.at[stands]] = self.answers[stands]
        return exact


def update_to(param: Array, answer: Array) -> tuple[Array, Rest]:
    """Return the update that leads from a parameter to the answer, and the elements where its sum is not the answer.

    From half to twice the parameter, the sum is the answer. Elsewhere, where the parameter shrinks or grows by more or
    changes its sign, it may be off by the last digit of the update, at most.
    """
    update = np.empty_like(answer, order="C")
    wrong = _subtracted(param.reshape(-1), answer.reshape(-1), update.reshape(-1))
    sums = param.reshape(-1)[wrong] + update.reshape(-1)[wrong]
    return update, Rest(wrong, bits(sums), bits(answer)[wrong])


def bits(array: Array) -> Array:
    """Return the elements' bits, as a flat view."""
    return np.asarray(array, order="C").reshape(-1).view(f"u{array.dtype.itemsize}")


def _subtracted(param: Array, answer: Array, update: Array) -> NDArray[np.intp]:
    """Write the differences into `update`; return where their sums with the parameter are not the answer."""
    wrong = list[NDArray[np.intp]]()
    for start in range(0, param.size, BLOCK):
        part = slice(start, start + BLOCK)
        np.subtract(answer[part], param[part], out=update[part])
        wrong.append(start + np.flatnonzero(bits(param[part] + update[part]) != bits(answer[part])))
    return np.concatenate(wrong) if wrong else np.empty(0, np.intp)
