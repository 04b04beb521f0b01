"""LAMB: an update is as long as γ times its tensor, and each tensor has a ratio of its own."""

import numpy as np
import pytest

from optim_engine import Config, State, step

CONFIG = Config.parse("lamb", hyperparameters={"lr": 0.1})


def test_the_first_update_has_a_tenth_of_the_tensors_norm() -> None:
    params = {"x": np.array([3.0, 4.0]), "y": np.array([[300.0, 400.0]])}
    after = step(CONFIG, State.empty(), params, {"x": np.array([1.0, -2.0]), "y": np.array([[1e-3, 7.0]])}).params
    for name, length in (("x", 5), ("y", 500)):
        assert np.linalg.norm(after[name] - params[name]) == pytest.approx(0.1 * length)


@pytest.mark.parametrize(("θ", "g"), [(0.0, 2.0), (3.0, 0.0)])
def test_the_ratio_is_one_where_a_norm_is_zero(θ: float, g: float) -> None:
    after = step(CONFIG, State.empty(), {"x": np.full(4, θ)}, {"x": np.full(4, g)}).params["x"]
    assert after == pytest.approx(θ - 0.1 * np.sign(g), rel=1e-5)


def test_a_tensor_whose_gradient_became_zero_stays_finite() -> None:
    """Its update shrinks until float32 has no number for γ·‖θ‖/‖u‖, though it has one for the product with u."""
    config, state = Config.parse("lamb"), State.empty()
    params = {"x": np.full(4, 2, np.float32)}
    for t in range(1200):
        g = np.array([1, -1, 0.5, 2], np.float32) * (t < 3)
        outcome = step(config, state, params, {"x": g})
        state, params = outcome.state, {"x": np.array(outcome.params["x"])}
    assert np.isfinite(params["x"]).all()
    assert abs(params["x"]).max() < 10
