"""Conversions between float16 and float32, against NumPy's: of all float16, and of float32 of every kind."""

import numpy as np
import pytest

from optim_engine import halves
from optim_engine.arrays import Array

ALL = np.arange(1 << 16, dtype=np.uint16).view(np.float16)


def narrowed(x: Array) -> Array:
    out = np.empty(len(x), np.float16)
    halves.narrow(x, out)
    return out


def assert_as_numpy_has_it(x: Array) -> None:
    """But for NaN, whose bits depend on the processor there."""
    with np.errstate(all="ignore"):
        expected = np.where(np.isnan(x), np.float16(np.nan), x.astype(np.float16))
    assert np.array_equal(narrowed(x).view(np.uint16), expected.view(np.uint16))


def test_all_halves_are_widened_exactly_and_come_back() -> None:
    wide = np.empty(len(ALL), np.float32)
    halves.widen(ALL, wide)
    number = ~np.isnan(ALL)
    assert np.array_equal(np.isnan(wide), ~number)
    assert np.array_equal(wide[number].view(np.uint32), ALL[number].astype(np.float32).view(np.uint32))
    assert np.array_equal(narrowed(wide)[number].view(np.uint16), ALL[number].view(np.uint16))


@pytest.mark.parametrize("sign", [1, -1])
def test_numbers_around_each_half_way_point_round_to_even(sign: int) -> None:
    finite = ALL[:0x7C00].astype(np.float64)
    halfway = np.append((finite[:-1] + finite[1:]) / 2, 65_520.0).astype(np.float32)
    for x in (halfway, np.nextafter(halfway, np.float32(0)), np.nextafter(halfway, np.float32(np.inf))):
        assert_as_numpy_has_it(np.float32(sign) * x)


def test_float32_of_all_bits_are_narrowed_as_numpy_does() -> None:
    rng = np.random.default_rng(0)
    for size in (0, 1, 17, halves.PART - 1, halves.PART + 1, 1 << 20):
        assert_as_numpy_has_it(rng.integers(0, 1 << 32, size, np.uint32).view(np.float32))
        assert_as_numpy_has_it((rng.standard_normal(size) * 1e-5).astype(np.float32))


def test_every_nan_is_narrowed_to_one() -> None:
    bits = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0xFF812345, 0x7FFFFFFF], np.uint32)
    assert set(narrowed(bits.view(np.float32)).view(np.uint16).tolist()) == {0x7E00}
