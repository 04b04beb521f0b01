"""ASGD: its average follows the new parameters."""

import numpy as np
import pytest

from optim_engine import Config, State, step


@pytest.mark.parametrize("hold_params", [False, True])
def test_the_average_is_of_the_parameters_after_t0(hold_params: bool) -> None:
    config = Config.parse("asgd", hyperparameters={"lr": 1.0, "lambd": 0, "t0": 2}, hold_params=hold_params)
    params, state, seen = {"x": np.zeros(1)}, State.empty(), []
    for _ in range(5):
        sent = {} if hold_params and state.t else params
        outcome = step(config, state, sent, {"x": np.full(1, -1.0)})
        params, state = outcome.params, outcome.state
        seen.append(float(state.array("x", "ax")[0]))
    assert params["x"] == 5
    assert seen == [1, 2, 3, 4, 4.5]


def test_the_rate_falls_with_the_updates() -> None:
    config = Config.parse("asgd", hyperparameters={"lr": 1.0, "lambd": 1, "alpha": 1})
    params, state, moved = {"x": np.zeros(1)}, State.empty(), []
    for _ in range(3):
        state = (outcome := step(config, state, params, {"x": np.ones(1)})).state
        moved.append(float(outcome.params["x"][0]))
    assert moved == pytest.approx([-1, -1 / 2, -1 / 3])
