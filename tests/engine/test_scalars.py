"""Powers and cosines are the floats next to the exact values, of thousands: by fractions and by many more digits."""

import math
import random
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, getcontext, localcontext
from fractions import Fraction

import pytest

from optim_engine.averages import correction
from optim_engine.scalars import cosine, power

EXACT = Context(prec=120, Emin=-(10**9), Emax=10**9)
WIDEST = Context(prec=120, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])


def nearest(x: Fraction) -> float:
    """Return the float nearest to x, because Python divides whole numbers with correct rounding."""
    try:
        return x.numerator / x.denominator
    except OverflowError:
        return math.inf


def test_powers_of_whole_exponents_are_correctly_rounded() -> None:
    rng = random.Random(0)
    for _ in range(5000):
        base, exponent = (
            rng.choice([rng.random(), 2 * rng.random(), rng.randrange(1, 1000) / 1000]),
            rng.randrange(1, 80),
        )
        assert power(base, exponent) == nearest(Fraction(base) ** exponent), (base, exponent)


@pytest.mark.parametrize("beta", [0.9, 0.95, 0.98, 0.99, 0.999, 0.9999])
def test_bias_corrections_are_correctly_rounded_at_every_step(beta: float) -> None:
    exact = Decimal(1)
    for t in range(1, 3000):
        exact = EXACT.multiply(exact, Decimal(beta))
        assert power(beta, t) == float(exact), t
        assert correction(beta, t) == 1 - float(exact)


def test_powers_of_any_size_are_correctly_rounded() -> None:
    rng = random.Random(0)
    known = [0.9, 0.999, 0.5, 0.75, 5e-324, 1e-300, 1e300, math.nextafter(1, 0), math.nextafter(1, 2)]
    for _ in range(4000):
        base = rng.choice([rng.random(), 1 - rng.random() ** 4 / 5, 2 * rng.random(), *known])
        ends = [1024, -1022, -1074, -1076]
        near = rng.choice(ends) / math.log2(base) * rng.uniform(0.999, 1.001)
        exponent = rng.choice([rng.randrange(1, 10_000), int(10 ** rng.uniform(0, 18)), max(1, int(near))])
        assert power(base, exponent) == float(WIDEST.power(Decimal(base), exponent)), (base, exponent)


def test_powers_half_way_between_floats_round_to_even() -> None:
    halves = [(numerator / 512, exponent) for numerator in range(3, 600, 2) for exponent in range(2, 40)]
    assert all(power(base, exponent) == nearest(Fraction(base) ** exponent) for base, exponent in halves)
    root = 262_143
    assert power(root**2 / 2**36, 1.5) == nearest(Fraction(root**3, 2**54))
    assert power(0.5, 1075) == 0.0
    assert power(3 * 0.5**538, 2) == nearest(Fraction(9, 2**1076))


def test_powers_of_any_exponent_are_correctly_rounded() -> None:
    rng = random.Random(0)
    for _ in range(400):
        base, exponent = rng.random(), rng.choice([0.5, 0.9, 1.0, 1.5, 2.0, rng.uniform(0.01, 20)])
        with localcontext(EXACT):
            exact = (Decimal(base).ln() * Decimal(exponent)).exp()
        assert power(base, exponent) == float(exact), (base, exponent)


@pytest.mark.parametrize(
    ("base", "exponent", "value"),
    [
        (0.0, 0, 1.0),
        (0.0, 0.5, 0.0),
        (1.0, 2**53, 1.0),
        (0.5, 2**53, 0.0),
        (1.5, 2**53, math.inf),
        (10.0, 308, 1e308),
        (10.0, 309, math.inf),
        (0.5, 1074, 5e-324),
        (5e-324, 1.0, 5e-324),
        (0.9, 1, 0.9),
    ],
)
def test_powers_at_the_ends_of_the_range(base: float, exponent: float, value: float) -> None:
    assert power(base, exponent) == value


def test_cosines_are_correctly_rounded() -> None:
    rng = random.Random(0)
    numbers = [math.pi * k / 1000 for k in range(1001)] + [rng.uniform(0, math.pi) for _ in range(1000)]
    numbers += [math.pi / 2, math.nextafter(math.pi / 2, 2), 1e-300, 5e-324, 1e-8, 2e-8]
    for x in numbers:
        assert cosine(x) == float(series(x)), x


def series(x: float) -> Decimal:
    """Return the cosine as the recipes of Python's decimal module have it."""
    with localcontext(EXACT):
        getcontext().prec = 120
        i, before, total, factorial, numerator, sign = 0, Decimal(0), Decimal(1), 1, Decimal(1), 1
        while total != before:
            before = total
            i += 2
            factorial *= i * (i - 1)
            numerator *= Decimal(x) * Decimal(x)
            sign = -sign
            total += numerator / factorial * sign
        return total
