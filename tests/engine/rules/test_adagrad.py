"""Adagrad: the value that its sum of squares starts with."""

import numpy as np

from optim_engine import Config, Edits, State, step


def test_the_sum_starts_anew_after_a_reset() -> None:
    config = Config.parse("adagrad", hyperparameters={"initial_accumulator_value": 5.0})
    two = {"x": np.full(3, 2.0), "y": np.full(2, 1.0)}
    state = step(config, State.empty(), two, two).state
    assert (state.array("x", "v") == 9).all()
    state = step(config, state, two, two).state
    assert (state.array("x", "v") == 13).all()
    state = step(config, Edits(reset=("x",)).apply(state), two, two).state
    assert (state.array("x", "v") == 9).all()
    assert (state.array("y", "v") == 8).all()
