"""Prodigy: its estimate of the distance grows with the way that was gone."""

from itertools import pairwise

import numpy as np
import pytest

from optim_engine import Config, State, step


def walked(steps: int, **hyperparameters: float) -> list[float]:
    """Return the estimate after each step towards 5 from 0, by gradients of one length."""
    config = Config.parse("prodigy", hyperparameters={"d0": 1e-3, **hyperparameters})
    params, state, seen = {"w": np.zeros(1)}, State.empty(), []
    for _ in range(steps):
        outcome = step(config, state, params, {"w": np.sign(params["w"] - 5) + (params["w"] == 5)})
        params, state = outcome.params, outcome.state
        seen.append(float(state.array("w", "d")))
    return seen


def test_the_estimate_approaches_the_distance_from_below() -> None:
    seen = walked(400)
    assert seen == sorted(seen)
    assert 0.5 < seen[-1] <= 5


def test_the_growth_rate_bounds_each_step_of_the_estimate() -> None:
    seen = walked(50, growth_rate=1.1)
    assert seen[-1] > 2e-3
    later = [(before, after) for before, after in pairwise(seen) if before > 1e-3]  # it leaves d0 at once
    assert all(after <= before * 1.1 * (1 + 1e-15) for before, after in later)


def test_the_first_parameter_is_kept() -> None:
    params, grads = {"w": np.full(2, 3.0)}, {"w": np.ones(2)}
    state = step(Config.parse("prodigy"), State.empty(), params, grads).state
    assert np.array_equal(state.array("w", "p0"), params["w"])
    assert state.array("w", "d") == pytest.approx(1e-6)
