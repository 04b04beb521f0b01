"""AdEMAMix: the slow mean is not corrected, and α weighs it."""

import numpy as np
import pytest

from optim_engine import Config, State, step


def test_the_slow_mean_fills_without_correction() -> None:
    """Ones for gradients: m̂ and √v̂ are 1, and the slow mean is 1 − 0.9ᵗ."""
    config = Config.parse("ademamix", hyperparameters={"lr": 1.0, "eps": 0, "alpha": 2, "betas": [0.5, 0.5, 0.9]})
    params, state = {"x": np.zeros(1)}, State.empty()
    for t in range(1, 6):
        outcome = step(config, state, params, {"x": np.ones(1)})
        assert params["x"] - outcome.params["x"] == pytest.approx(1 + 2 * (1 - 0.9**t))
        params, state = outcome.params, outcome.state


def test_without_alpha_it_is_adamw() -> None:
    grads, params = {"x": np.linspace(-2, 3, 9)}, {"x": np.linspace(1, 2, 9)}
    mixed = Config.parse("ademamix", hyperparameters={"alpha": 0, "weight_decay": 0.1})
    plain = Config.parse("adamw", hyperparameters={"weight_decay": 0.1})
    both = [step(config, State.empty(), params, grads).params["x"] for config in (mixed, plain)]
    np.testing.assert_allclose(*both, rtol=1e-14)
