"""Powers and the cosine, correctly rounded: the float nearest to the exact value, the same on every machine.

The last bit of a C library's result depends on the processor. Here a value is computed to more digits than a float
has, and again to more if those do not decide which float is the nearest. Whole powers are first tried with integers,
because a step needs new ones.
"""

import math
import struct
from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal
from functools import lru_cache

BITS = 128
"""The fractional bits of the first try at a cosine."""
ERROR = 1 << 16
"""A bound on the rounding error of the series, in units of its last bit."""
PRECISION = 128
"""The bits of an integer that stands for a power."""
LARGEST_WHOLE = 1 << 53
"""The largest exponent that integers are tried for: they would seldom decide beyond it."""
LOW = (1 << 6) - 1
"""The last bits of an exponent. The power of the others is kept, and serves as many steps."""
LEVELS = [30, 60, 120, 240, 480, 960, 1920]
"""The digits of each try. If the last one does not decide, the exact value is half-way between two floats: only small
powers of fractions can be, and no other power of floats comes as close to a half-way point."""


@lru_cache(maxsize=4096)
def power(base: float, exponent: float) -> float:
    """Return base^exponent for a base of 0 or more; infinite beyond the range of a float."""
    if exponent == 0 or base == 1:
        return 1.0
    if base == 0:
        return 0.0
    result = _by_integers(base, exponent) if isinstance(exponent, int) and 0 < exponent <= LARGEST_WHOLE else None
    return _by_decimals(base, exponent) if result is None else result


def _by_integers(base: float, exponent: int) -> float | None:
    """Return base^exponent; `None` if two floats remain possible, or if the result is near an end of their range.

    Cutting a product to 128 bits takes less than 2⁻¹²⁷ of it. Fewer than `exponent` products make a power, so the
    exact value exceeds `least`, which has up to 256 bits, by less than exponent·2⁻¹²⁶ of it, or exponent·2¹³⁰.
    """
    low = exponent & LOW
    (a, a_scale), (b, b_scale) = _whole_power(base, exponent - low), _whole_power(base, low)
    least, scale = a * b, a_scale + b_scale
    if not -1276 < scale < 766:
        return 0.0 if scale < -1332 else None
    below, above = float(least), float(least + (exponent << 130))
    return math.ldexp(below, scale) if below == above else None


@lru_cache(maxsize=1024)
def _whole_power(base: float, exponent: int) -> tuple[int, int]:
    """Return integers (a, e): a has 128 bits, and a·2ᵉ is base^exponent or a little less."""
    if exponent < 2:
        fraction, scale = math.frexp(base if exponent else 1.0)
        return int(fraction * 2.0**53) << PRECISION - 53, scale - PRECISION
    part = exponent >> 1
    (a, a_scale), (b, b_scale) = _whole_power(base, exponent - part), _whole_power(base, part)
    product = a * b
    cut = product.bit_length() - PRECISION
    return product >> cut, a_scale + b_scale + cut


def _by_decimals(base: float, exponent: float) -> float:
    """Return base^exponent for a base above 0."""
    exact_base, exact_exponent = Decimal(base), Decimal(exponent)
    for context, below, above in _LEVELS:
        near = context.power(exact_base, exact_exponent)
        least, most = float(context.multiply(near, below)), float(context.multiply(near, above))
        if least == most:
            return least
    return least if _is_even(least) else most


@lru_cache(maxsize=256)
def cosine(x: float) -> float:
    """Return cos x for x from 0 to 4 (radians), by its series in integer multiples of 2⁻¹²⁸."""
    numerator, denominator = x.as_integer_ratio()
    bits = BITS
    while True:
        one = 1 << bits
        square = ((numerator << bits) // denominator) ** 2 >> bits
        term = total = one
        n = 0
        while term:
            n += 2
            term = (term * square >> bits) // ((n - 1) * n)
            total += -term if n & 2 else term
        least, most = (total - ERROR) / one, (total + ERROR) / one
        if least == most:
            return least
        bits *= 2


def _level(digits: int) -> tuple[Context, Decimal, Decimal]:
    """Return the decimal context, and the two factors of its results between which the exact value lies."""
    context = Context(prec=digits, rounding=ROUND_HALF_EVEN, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])
    margin = Decimal(10) ** (4 - digits)
    return context, context.subtract(Decimal(1), margin), context.add(Decimal(1), margin)


_LEVELS = [_level(digits) for digits in LEVELS]


def _is_even(x: float) -> bool:
    return struct.pack("<d", x)[0] % 2 == 0
