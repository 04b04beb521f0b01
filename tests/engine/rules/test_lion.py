"""Lion: its update is made with the old momentum, and is kept only where a replay needs it."""

import numpy as np
import pytest

from optim_engine import Config, InvalidConfig, State, reapply, step
from tests.engine.cases import same_bits, tensors


def test_an_update_is_the_sign_by_the_old_momentum() -> None:
    """After a gradient of 4, one of −1: β₁·m + (1−β₁)·g is 0.5·0.4 − 0.5, although the new m is positive."""
    config = Config.parse("lion", hyperparameters={"lr": 1.0, "betas": [0.5, 0.9]})
    params, state = {"x": np.zeros(1)}, State.empty()
    for g, m, moved in ((4.0, 0.4, -1), (-1.0, 0.26, 1), (0.0, 0.234, -1)):
        outcome = step(config, state, params, {"x": np.full(1, g)})
        assert outcome.state.array("x", "m") == pytest.approx(m)
        assert outcome.params["x"] - params["x"] == moved
        params, state = outcome.params, outcome.state


def test_a_session_that_holds_its_parameters_keeps_no_update() -> None:
    sent, held = (Config.parse("lion", hold_params=hold) for hold in (False, True))
    params, grads = tensors(0, np.float32), tensors(1, np.float32)
    first = step(held, State.empty(), params, grads)
    assert {entry.slots for entry in first.state.entries.values()} == {("m", "params")}
    second = step(held, first.state, {}, grads)
    state = step(sent, State.empty(), params, grads).state
    assert {entry.slots for entry in state.entries.values()} == {("m", "update")}
    assert same_bits(step(sent, state, first.params, grads).params, second.params)


def test_a_replay_repeats_the_update_that_was_kept() -> None:
    config = Config.parse("lion")
    params, grads = tensors(0, np.float32), tensors(1, np.float32)
    outcome = step(config, step(config, State.empty(), params, tensors(2, np.float32)).state, params, grads)
    assert same_bits(reapply(config, outcome.state, params, grads, clip_scale=1.0), outcome.params)


def test_decay_apart_from_lr_needs_an_lr() -> None:
    with pytest.raises(InvalidConfig, match=r"^hyperparameters\.decoupled_weight_decay: needs an lr above 0; it is 0"):
        Config.parse("lion", hyperparameters={"lr": 0, "decoupled_weight_decay": True})
