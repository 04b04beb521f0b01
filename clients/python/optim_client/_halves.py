"""Conversion of float32 to float16 and bfloat16, to nearest even, as NumPy and ml_dtypes round.

NumPy's own conversion to float16 is many times slower for subnormal results, below 6·10⁻⁵, and gradients are often as
small. Here every value takes the same time: a power of two is added whose last bit is worth the result's last bit, so
that the addition rounds.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 15
"""Elements in a block: each pass over a block finds it in the cache."""
MAGNITUDE = np.uint32(0x7FFF_FFFF)
EXPONENT = np.uint32(0x7F80_0000)
SIGN = np.uint32(0x8000_0000)
SMALLEST_NORMAL = np.uint32(0x3880_0000)
"""2⁻¹⁴: below it every float16 has the same exponent."""
TO_LAST_BIT = np.uint32(13 << 23)
"""The 13 bits that float16 lacks, added to a float32's exponent."""
REBIAS = np.uint32((113 + 13) << 10)
ROUNDS_TO_INFINITY = 0x477F_F000
"""65520: half-way between the largest float16 and 2¹⁶."""
INFINITIES = {"float16": 0xF800, "bfloat16": 0xFF00}
"""The bits of infinity, shifted left by one, which removes the sign."""


class Loss:
    """Counts of underflows and overflows: elements that rounding made zero or infinite."""

    def __init__(self) -> None:
        self.zeros = 0
        self.infinities = 0

    def __bool__(self) -> bool:
        return bool(self.zeros or self.infinities)

    def __str__(self) -> str:
        said = [f"{self.zeros} that were not zero became zero"] * bool(self.zeros)
        said += [f"{self.infinities} that were finite became infinite"] * bool(self.infinities)
        return " and ".join(said)

    def count(self, exact: NDArray[Any], rounded: NDArray[Any]) -> None:
        """Count the losses of a block. Usually nothing is zero or infinite afterwards, which is quick to find out."""
        bits = rounded.view(np.uint16) << 1
        if bits.min() == 0:
            self.zeros += int(np.count_nonzero(exact) - np.count_nonzero(bits))
        infinity = INFINITIES[rounded.dtype.name]
        if bits.max() >= infinity:
            self.infinities += int(np.count_nonzero(bits == infinity) - np.count_nonzero(np.isinf(exact)))


@np.errstate(over="ignore", under="ignore", invalid="ignore")  # the service says which elements are not finite
def narrow(array: NDArray[np.float32], into: NDArray[Any], loss: Loss | None = None) -> None:
    """Round a contiguous array into one of float16 or bfloat16, and count the losses."""
    exact, rounded = array.reshape(-1), into.reshape(-1)
    room = np.empty((3, min(BLOCK, len(exact))), np.uint32)
    for start in range(0, len(exact), BLOCK):
        source, target = exact[start : start + BLOCK], rounded[start : start + BLOCK]
        if into.dtype.name == "float16":
            _narrow_block(source, target, room[:, : len(source)])
        else:
            target[...] = source
        if loss is not None:
            loss.count(source, target)


def _narrow_block(source: NDArray[np.float32], target: NDArray[Any], room: NDArray[np.uint32]) -> None:
    magnitude, scale, sign = room
    bits = source.view(np.uint32)
    np.bitwise_and(bits, MAGNITUDE, out=magnitude)
    if magnitude.max() >= ROUNDS_TO_INFINITY:  # or not finite
        target[...] = source
        return
    np.bitwise_and(magnitude, EXPONENT, out=scale)
    np.maximum(scale, SMALLEST_NORMAL, out=scale)
    np.add(scale, TO_LAST_BIT, out=scale)
    floats = magnitude.view(np.float32)
    np.add(floats, scale.view(np.float32), out=floats)  # rounds
    np.subtract(magnitude, scale, out=magnitude)  # the significand, with its leading one
    np.right_shift(scale, 13, out=scale)
    np.add(magnitude, scale, out=magnitude)
    np.bitwise_and(bits, SIGN, out=sign)
    np.right_shift(sign, 16, out=sign)
    np.subtract(sign, REBIAS, out=sign)
    np.add(magnitude, sign, out=target.view(np.uint16), casting="unsafe")
