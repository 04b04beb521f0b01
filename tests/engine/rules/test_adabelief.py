"""AdaBelief: its second moment is of the distance from the mean, and never falls below what ε adds."""

import numpy as np
import pytest

from optim_engine import Config, State, step


def test_eps_root_is_added_to_the_moment_at_each_update() -> None:
    """Zeros for gradients leave nothing else."""
    config = Config.parse("adabelief", hyperparameters={"eps_root": 1.0, "betas": [0.9, 0.5]})
    x, state, seen = {"x": np.zeros(1)}, State.empty(), []
    for _ in range(4):
        state = step(config, state, x, x).state
        seen.append(float(state.array("x", "v")[0]))
    assert seen == [1.0, 1.5, 1.75, 1.875]


def test_constant_gradients_are_believed_more_than_changing_ones() -> None:
    config = Config.parse("adabelief", hyperparameters={"lr": 1e-3, "betas": [0.5, 0.5]})
    params, state = {"x": np.zeros(2)}, State.empty()
    for t in range(20):
        outcome = step(config, state, params, {"x": np.array([1.0, (-1.0) ** t])})
        params, state = outcome.params, outcome.state
    same, changing = state.array("x", "v")
    assert same == pytest.approx(0, abs=1e-5)
    assert changing > 0.1
