"""Adan: the difference to the last gradient, which the first update has not."""

import numpy as np
import pytest

from optim_engine import Config, Edits, State, step


def test_the_first_update_has_no_difference_also_after_a_reset() -> None:
    config = Config.parse("adan", hyperparameters={"betas": [0.5, 0.5, 0.5]})
    x, g = {"x": np.zeros(1)}, {"x": np.full(1, 8.0)}
    state = step(config, State.empty(), x, g).state
    assert state.array("x", "v") == 0
    state = step(config, state, x, {"x": np.full(1, 2.0)}).state
    assert state.array("x", "v") == pytest.approx(-3)
    assert step(config, Edits(reset=("x",)).apply(state), x, g).state.array("x", "v") == 0
