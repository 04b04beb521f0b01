"""LARS: its momentum includes the learning rate, and its ratio is 1 where a norm is 0."""

import numpy as np
import pytest

from optim_engine import Config, State, step


def test_the_momentum_includes_the_learning_rate() -> None:
    """Gradients of (0, 1) for a parameter (3, 4): the ratio is 5."""
    config = Config.parse("lars", hyperparameters={"lr": 0.1, "trust_coefficient": 1, "momentum": 0.5})
    params, grads = {"x": np.array([3.0, 4.0])}, {"x": np.array([0.0, 1.0])}
    first = step(config, State.empty(), params, grads)
    assert first.state.array("x", "m") == pytest.approx([0, 0.5])
    second = step(config, first.state, params, grads, lr=0.0)
    assert params["x"] - second.params["x"] == pytest.approx([0, 0.25])


@pytest.mark.parametrize("θ", [0.0, 3.0])
def test_without_a_norm_the_gradient_is_not_scaled(θ: float) -> None:
    config = Config.parse("lars", hyperparameters={"lr": 0.5, "momentum": 0})
    after = step(config, State.empty(), {"x": np.full(4, θ)}, {"x": np.full(4, 2.0)}).params["x"]
    assert after == pytest.approx(θ - 0.5 * 2 if θ == 0 else θ - 0.5 * 1e-3 * θ)


@pytest.mark.parametrize("nesterov", [False, True])
def test_the_smallest_gradients_give_finite_updates(nesterov: bool) -> None:
    config = Config.parse("lars", hyperparameters={"lr": 0.1, "nesterov": nesterov})
    after = step(config, State.empty(), {"x": np.full(4, 1e3, np.float32)}, {"x": np.full(4, 1e-44, np.float32)})
    assert after.params["x"] == pytest.approx(1e3 - (0.19 if nesterov else 0.1), rel=1e-6)
