"""Caution: what is held back, and what the others get for it."""

import numpy as np
import pytest

from optim_engine import Config, State, step


def test_elements_against_their_gradient_stay_and_the_others_go_further() -> None:
    """Momentum of 1 for all, then gradients of which one turned: the other three share its update."""
    plain, cautious = (
        Config.parse("adam", hyperparameters={"lr": 1.0, "eps": 0, "betas": [0.9, 0], "cautious": flag})
        for flag in (False, True)
    )
    params, turned = {"x": np.zeros(4)}, {"x": np.array([1.0, 1.0, -1e-3, 1.0])}
    state = step(plain, State.empty(), params, {"x": np.ones(4)}).state
    free = step(plain, state, params, turned).params["x"]
    held = step(cautious, state, params, turned).params["x"]
    assert free[2] < 0
    assert held == pytest.approx([free[0] * 4 / 3, free[1] * 4 / 3, 0, free[3] * 4 / 3])


def test_the_share_is_of_one_tensor_even_of_small_ones() -> None:
    config = Config.parse("lion", hyperparameters={"lr": 1.0, "betas": [0.9, 0.9], "cautious": True})
    params = {"a": np.zeros(2), "b": np.zeros(2)}
    state = step(config, State.empty(), params, {"a": np.ones(2), "b": np.ones(2)}).state
    after = step(config, state, params, {"a": np.array([1.0, -1e-3]), "b": np.ones(2)}).params
    assert after["a"].tolist() == [-2, 0]
    assert after["b"].tolist() == [-1, -1]


def test_a_tensor_that_is_held_back_as_a_whole_stays() -> None:
    config = Config.parse("adamw", hyperparameters={"cautious": True, "weight_decay": 0})
    params = {"x": np.ones(3, np.float32)}
    state = step(config, State.empty(), params, {"x": np.ones(3, np.float32)}).state
    after = step(config, state, params, {"x": np.full(3, -1e-6, np.float32)}).params["x"]
    assert after.tolist() == [1, 1, 1]


def test_a_group_alone_may_be_cautious() -> None:
    config = Config.parse("adam", groups=[{"match": ["a"], "cautious": True}])
    params = {"a": np.zeros(2), "b": np.zeros(2)}
    state = step(config, State.empty(), params, {name: np.ones(2) for name in params}).state
    after = step(config, state, params, {name: np.array([1.0, -1e-3]) for name in params}).params
    assert after["a"][1] == 0
    assert after["b"][1] < 0
