"""Rprop: how the step of an element grows and shrinks."""

import numpy as np
import pytest

from optim_engine import Config, State, step


def test_a_step_grows_and_waits_after_the_sign_turned() -> None:
    config = Config.parse("rprop", hyperparameters={"lr": 1.0, "etas": [0.5, 2], "step_sizes": [0.1, 3]})
    params, state, moved = {"x": np.zeros(1)}, State.empty(), []
    for g in (5.0, 0.1, 7.0, -1.0, -1.0, -1.0, 0.0, 2.0):
        outcome = step(config, state, params, {"x": np.full(1, g)})
        moved.append(float((params["x"] - outcome.params["x"])[0]))
        params, state = outcome.params, outcome.state
    assert moved == pytest.approx([1, 2, 3, 0, -1.5, -3, 0, 3])


def test_the_learning_rate_is_used_at_the_first_update_alone() -> None:
    first, second = (Config.parse("rprop", hyperparameters={"lr": lr}) for lr in (0.5, 7.0))
    one = {"x": np.ones(1)}
    state = step(first, State.empty(), one, one).state
    assert step(second, state, one, one).state.array("x", "step_size") == pytest.approx(0.6)
