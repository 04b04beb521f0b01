"""Adamax: ε is inside the maximum."""

import numpy as np

from optim_engine import Config, State, step


def test_eps_is_inside_the_maximum() -> None:
    """Outside of it, the second update would be m̂ / (u + ε)."""
    config = Config.parse("adamax", hyperparameters={"lr": 1.0, "eps": 0.5, "betas": [0, 0.5]})
    params, state = {"x": np.zeros(1)}, State.empty()
    for g, u in ((2.0, 2.5), (-1.0, 1.5), (0.0, 0.75), (0.0, 0.5)):
        outcome = step(config, state, params, {"x": np.full(1, g)})
        assert outcome.state.array("x", "u") == u
        assert params["x"] - outcome.params["x"] == g / u
        params, state = outcome.params, outcome.state


def test_the_larger_of_two_zeros_is_the_positive_one() -> None:
    config = Config.parse("adamax", hyperparameters={"eps": 0})
    zeros = {"x": np.zeros(100, np.float32)}
    first = step(config, State.empty(), zeros, zeros).state
    state = State(first.t, first.layout, first.counts, first.memory.copy())
    state.array("x", "u")[:] = -0.0
    assert not np.signbit(step(config, state, zeros, zeros).state.array("x", "u")).any()
