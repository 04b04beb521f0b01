"""Decay that is caught up, against decimals of 60 digits."""

import math
from decimal import Context, Decimal
from fractions import Fraction

import numpy as np
import pytest

from optim_engine.decay import added, caught_up, factors
from optim_engine.schedules import read_schedule

EXACT = Context(prec=60)


def exact_exp(x: float) -> Decimal:
    return EXACT.exp(Decimal(x))


def test_factors_are_within_one_ulp_of_exp() -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([-rng.random(2000) * 10.0 ** rng.integers(-18, 3, 2000), [0.0, -1e-300, -700.0]])
    for a, found in zip(x, factors(np.zeros(2), np.stack([-x, np.zeros_like(x)], axis=1)), strict=True):
        exact = exact_exp(a)
        if exact > Decimal("1e-300"):
            assert abs(Decimal(float(found)) - exact) < Decimal("0.52") * Decimal(math.ulp(float(exact)))


def test_a_factor_has_the_bits_that_it_has_among_others() -> None:
    sums = np.random.default_rng(1).random((500, 2)) * [30.0, 1e-16]
    alone = [factors(np.zeros(2), row[None])[0] for row in sums]
    assert np.array(alone).tobytes() == factors(np.zeros(2), sums).tobytes()


def test_a_factor_is_one_for_rows_without_late_decay() -> None:
    total = np.array([-3.0, 1e-17])
    assert (factors(total, np.tile(total, (3, 1))) == 1).all()


def test_a_sum_of_many_logarithms_loses_no_digit() -> None:
    total, share = np.zeros(2), 1e-5
    for _ in range(20_000):
        total = added(total, share)
    exact = Fraction(EXACT.ln(EXACT.subtract(Decimal(1), Decimal(share)))) * 20_000
    assert abs(sum(map(Fraction, total.tolist())) - exact) < Fraction(1, 10**27)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_decay_of_a_thousand_cosine_steps_is_within_one_ulp(dtype: type[np.floating]) -> None:
    schedule = read_schedule({"kind": "cosine", "total_steps": 1500})
    total, exact = np.array([-2.5, 1e-18]), Decimal(0)
    before = total
    for s in range(200, 1200):
        share = 0.05 * schedule.at(s) * 0.1
        total, exact = added(total, share), EXACT.add(exact, EXACT.ln(EXACT.subtract(Decimal(1), Decimal(share))))
    θ = np.random.default_rng(1).standard_normal(300).astype(dtype)
    found = caught_up(θ, total, np.tile(before, (100, 1)))
    oracle = np.array([float(Decimal(float(x)) * EXACT.exp(exact)) for x in θ]).astype(dtype)
    assert (np.abs(found - oracle) <= np.spacing(np.abs(oracle))).all()
    assert found.dtype == dtype


def test_rows_that_are_not_late_keep_their_bits() -> None:
    θ, total = np.array([0.1, -0.0, np.nan, 3.0], np.float32), np.array([-1.0, 0.0])
    found = caught_up(θ, total, np.array([[-1.0, 0.0], [0.0, 0.0]]))
    assert found[:2].tobytes() == θ[:2].tobytes()
    assert found[3] == np.float32(3 * math.exp(-1))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rows_that_are_alike_get_the_bits_of_each_alone(dtype: type[np.floating]) -> None:
    θ, total = np.random.default_rng(2).standard_normal(12).astype(dtype), np.array([-2.0, 1e-17])
    θ[5] = np.nan
    late, later = np.array([-1.0, 0.0]), np.array([-0.5, 0.0])
    alike = caught_up(θ, total, np.tile(late, (3, 1)))
    mixed = caught_up(np.concatenate([θ, θ[:4]]), total, np.array([late, late, late, later]))
    assert alike.tobytes() == mixed[:12].tobytes()
    assert alike[4:8].tobytes() == caught_up(θ[4:8], total, late[None]).tobytes()
