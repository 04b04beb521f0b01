"""float16 to float32 and back, as IEEE 754 has it: to nearest even, subnormals and infinities included.

NumPy's own conversion takes a hundred times as long for a number below 2⁻¹⁴ or beyond 65504 as for others, and a NaN's
bits depend on the processor. Here NaN becomes one NaN, or keeps its bits where it is widened.
"""

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

PART = 1 << 16
"""Elements that are converted at a time, in the processor's cache."""
INFINITE = 0x7F800000
BEYOND = 0x47800000
"""2¹⁶, which is as good as all that is larger."""
SMALLEST = 0x38800000
"""2⁻¹⁴: below, float16 has steps of one size."""
THIRTEEN = 13 << 23
NAN = 0x7E00


def narrow(x: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
    """Fill a vector of float16 with a vector of float32, rounded."""
    bits, halves = x.view(np.int32), out.view(np.uint16)
    a, b = np.empty((2, min(len(x), PART)), np.int32)
    for start in range(0, len(x), PART):
        part = bits[start : start + PART]
        _narrow(part, a[: len(part)], b[: len(part)], halves[start : start + PART])


def _narrow(bits: npt.NDArray[Any], a: npt.NDArray[Any], b: npt.NDArray[Any], halves: npt.NDArray[Any]) -> None:
    """To |x| is added the power of two whose float32 has the step in its last bit that float16 has at |x|: the sum is
    rounded to it, and ends with |x| as a number of steps."""
    np.bitwise_and(bits, 0x7FFFFFFF, out=a)
    has_nan = a.max() > INFINITE
    np.minimum(a, BEYOND, out=a)
    np.bitwise_and(a, INFINITE, out=b)
    np.maximum(b, SMALLEST, out=b)
    np.add(b, THIRTEEN, out=b)
    np.add(a.view(np.float32), b.view(np.float32), out=a.view(np.float32))
    np.subtract(a, b, out=a)
    np.subtract(b, SMALLEST + THIRTEEN, out=b)
    np.right_shift(b, 13, out=b)
    np.add(a, b, out=a)
    np.right_shift(bits, 16, out=b)
    np.bitwise_and(b, 0x8000, out=b)
    np.bitwise_or(a, b, out=a)
    halves[...] = a
    if has_nan:
        halves[np.bitwise_and(bits, 0x7FFFFFFF) > INFINITE] = NAN


def widen(x: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
    """Fill a vector of float32 with a vector of float16, exactly."""
    np.take(_floats(), x.view(np.uint16), out=out, mode="clip")


@cache
def _floats() -> npt.NDArray[Any]:
    """All float16 as float32, by their bits."""
    bits = np.arange(1 << 16, dtype=np.uint32)
    sign, exponent, fraction = (bits >> 15) << 31, (bits >> 10) & 31, bits & 1023
    normal = (exponent + 112) << 23 | fraction << 13
    small = np.multiply(fraction, np.float32(2**-24), dtype=np.float32).view(np.uint32)
    other = np.where(exponent == 31, 255 << 23 | fraction << 13, np.where(exponent == 0, small, normal))
    return (sign | other).astype(np.uint32).view(np.float32)
