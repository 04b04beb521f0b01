"""StableAdamW: a gradient that nothing foretold moves its tensor less."""

import numpy as np
import pytest

from optim_engine import Config, InvalidConfig, State, step


def test_a_sudden_gradient_lowers_the_learning_rate_of_its_tensor() -> None:
    """The RMS of (g/√v) is 1 at first, and then 100/√v."""
    config = Config.parse("stable_adamw", hyperparameters={"lr": 1.0, "betas": [0, 0.99], "weight_decay": 0, "eps": 0})
    params = {"calm": np.zeros(2), "sudden": np.zeros(2)}
    state = step(config, State.empty(), params, {name: np.ones(2) for name in params}).state
    outcome = step(config, state, params, {"calm": np.ones(2), "sudden": np.full(2, 100.0)})
    v = outcome.state.array("sudden", "v")
    assert outcome.params["calm"] == pytest.approx(-1)
    assert outcome.params["sudden"] == pytest.approx(-100 / np.sqrt(v) / (100 / np.sqrt(v)))
    assert 100 / np.sqrt(v[0]) > 1.4


def test_decay_apart_from_lr_needs_a_largest_learning_rate() -> None:
    with pytest.raises(
        InvalidConfig, match=r"^hyperparameters\.decouple_lr: needs an lr above 0, or a `max_lr`; lr is 0"
    ):
        Config.parse("stable_adamw", hyperparameters={"lr": 0, "decouple_lr": True})
    config = Config.parse("stable_adamw", hyperparameters={"lr": 0.5, "decouple_lr": True, "weight_decay": 0.1})
    after = step(config, State.empty(), {"x": np.ones(1)}, {"x": np.zeros(1)}, lr=0.25).params["x"]
    assert after == pytest.approx(1 - 0.25 / 0.5 * 0.1)
