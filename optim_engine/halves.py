"""Conversions between float16 and float32 by IEEE 754: to nearest even, with subnormals and infinities.

NumPy's own conversion is a hundred times slower for numbers below 2⁻¹⁴ or above 65504 than for others, and the bits of
its NaNs depend on the processor. Here every NaN is narrowed to the same NaN, and keeps its bits when it is widened.
"""

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

PART = 1 << 16
"""Elements that are converted at a time, few enough for the processor's cache."""
INFINITE = 0x7F800000
"""The bits of infinity in float32."""
BEYOND = 0x47800000
"""The bits of 2¹⁶ in float32, which stands for everything larger: all of it becomes infinite."""
SMALLEST = 0x38800000
"""The bits of 2⁻¹⁴ in float32; below it, all steps of float16 have the same size."""
THIRTEEN = 13 << 23
"""A factor of 2¹³, added to the exponent of a float32."""
NAN = 0x7E00
"""The bits of the one NaN in float16."""


def narrow(x: npt.NDArray[Any], out: npt.NDArray[Any]) -> None:
    """Fill the float16 vector `out` with the float32 vector x, rounded to nearest even."""
    bits, halves = x.view(np.int32), out.view(np.uint16)
    a, b = np.empty((2, min(len(x), PART)), np.int32)
    for start in range(0, len(x), PART):
        part = bits[start : start + PART]
        _narrow(part, a[: len(part)], b[: len(part)], halves[start : start + PART])


def _narrow(bits: npt.NDArray[Any], a: npt.NDArray[Any], b: npt.NDArray[Any], halves: npt.NDArray[Any]) -> None:
    """Narrow one part, with two parts of scratch memory.

    |x| is added to the power of two whose last bit in float32 is worth one step of float16 at |x|. The addition
    rounds, and the last bits of the sum are |x| as a number of steps.
    """
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
    """Fill the float32 vector `out` with the float16 vector x, exactly."""
    np.take(_floats(), x.view(np.uint16), out=out, mode="clip")


@cache
def _floats() -> npt.NDArray[Any]:
    """Return every float16 as float32, indexed by its bits."""
    bits = np.arange(1 << 16, dtype=np.uint32)
    sign, exponent, fraction = (bits >> 15) << 31, (bits >> 10) & 31, bits & 1023
    normal = (exponent + 112) << 23 | fraction << 13
    small = np.multiply(fraction, np.float32(2**-24), dtype=np.float32).view(np.uint32)
    other = np.where(exponent == 31, 255 << 23 | fraction << 13, np.where(exponent == 0, small, normal))
    return (sign | other).astype(np.uint32).view(np.float32)
