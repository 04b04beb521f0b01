"""Adadelta: an update is measured by the updates before it, not by itself."""

import numpy as np
import pytest

from optim_engine import Config, State, step


def test_an_update_is_measured_by_the_old_updates() -> None:
    config = Config.parse("adadelta", hyperparameters={"rho": 0.5, "eps": 1.0})
    params, state = {"x": np.zeros(1)}, State.empty()
    v = u = 0.0
    for g in (2.0, -1.0, 3.0):
        v = 0.5 * v + 0.5 * g * g
        d = (u + 1) ** 0.5 / (v + 1) ** 0.5 * g
        u = 0.5 * u + 0.5 * d * d
        outcome = step(config, state, params, {"x": np.full(1, g)})
        assert params["x"] - outcome.params["x"] == pytest.approx(d)
        assert outcome.state.array("x", "delta") == pytest.approx(u)
        params, state = outcome.params, outcome.state
