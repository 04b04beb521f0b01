"""Yogi: where its moments start, and how fast they move."""

import numpy as np
import pytest

from optim_engine import Config, Edits, State, step


def test_both_moments_start_at_a_millionth_also_after_a_reset() -> None:
    config = Config.parse("yogi", hyperparameters={"betas": [0.5, 0.5]})
    x = {"x": np.zeros(2)}
    state = step(config, State.empty(), x, x).state
    for anew in (state, step(config, Edits(reset=("x",)).apply(state), x, x).state):
        assert (anew.array("x", "m") == 5e-7).all()
        assert (anew.array("x", "v") == 1e-6).all()


def test_the_second_moment_moves_by_at_most_the_square() -> None:
    """Adam's would fall by a tenth of itself."""
    config = Config.parse("yogi", hyperparameters={"betas": [0.5, 0.9]})
    params, state = {"x": np.zeros(1)}, State.empty()
    for g, v in ((10.0, 10.0), (1.0, 9.9), (0.0, 9.9), (-1.0, 9.8)):
        state = step(config, state, params, {"x": np.full(1, g)}).state
        assert state.array("x", "v") == pytest.approx(v, rel=1e-6)


def test_gradients_with_too_large_squares_make_no_nan() -> None:
    config, params, state = Config.parse("yogi"), {"x": np.ones(2, np.float32)}, State.empty()
    for _ in range(2000):
        outcome = step(config, state, params, {"x": np.full(2, 1e30, np.float32)})
        state, params = outcome.state, {"x": np.array(outcome.params["x"])}
    assert np.isfinite(params["x"]).all()
    assert not np.isnan(state.array("x", "v")).any()
