"""A replay: the parameters of a step once more, from the state that it led to, to the bit."""

from typing import Any

import numpy as np
import pytest

from optim_engine import Config, InvalidConfig, State, arrays, plan, reapply, step
from tests.engine.cases import ALL, DTYPES, SHAPES, Case, each_dtype, one_cell_each, same_bits, tensors


@one_cell_each("case, dtype, lr", ALL, DTYPES, {"lr": None, "own_lr": 0.3})
def test_reapply_gives_the_bits_of_the_step(case: Case, dtype: type[Any], lr: float | None) -> None:
    params, state = case.tensors(0, dtype), State.empty()
    for t in range(1, 6):
        grads = case.tensors(t, dtype)
        outcome = step(case.config, state, params, grads, lr=lr)
        again = reapply(case.config, outcome.state, params, grads, clip_scale=outcome.metrics.clip_scale, lr=lr)
        assert same_bits(again, outcome.params)
        params, state = outcome.params, outcome.state


@each_dtype
def test_some_tensors_and_big_ones_are_reapplied_to_the_bit(dtype: type[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "BLOCK", 1000)
    monkeypatch.setattr(plan, "PACK_BELOW", 100)
    shapes = {**SHAPES, "big": (50, 60)}
    config = Config.parse("adamw", clip={"global_norm": 1.0})
    params = tensors(0, dtype, shapes)
    state = step(config, State.empty(), params, tensors(1, dtype, shapes)).state
    for names in (["gain"], ["big", "layer.bias"], list(shapes)):
        some, grads = ({name: tensors(seed, dtype, shapes)[name] for name in names} for seed in (0, 2))
        outcome = step(config, state, some, grads)
        again = reapply(config, outcome.state, some, grads, clip_scale=outcome.metrics.clip_scale)
        assert same_bits(again, outcome.params)
        assert list(again) == names
        state = outcome.state


def test_reapply_changes_no_state() -> None:
    config = Config.parse("adamw")
    params, grads = tensors(0, np.float32), tensors(1, np.float32)
    outcome = step(config, State.empty(), params, grads)
    memory, counts = outcome.state.memory.tobytes(), dict(outcome.state.counts)
    for _ in range(3):
        reapply(config, outcome.state, params, grads, clip_scale=1.0)
    assert (outcome.state.memory.tobytes(), outcome.state.counts, outcome.state.t) == (memory, counts, 1)


def test_reapply_uses_the_settings_of_the_step() -> None:
    then, now = (Config.parse("adamw", hyperparameters={"lr": lr}) for lr in (0.1, 0.5))
    params, grads = tensors(0, np.float32), tensors(1, np.float32)
    outcome = step(then, State.empty(), params, grads)
    assert same_bits(reapply(then, outcome.state, params, grads, clip_scale=1.0), outcome.params)
    assert not same_bits(reapply(now, outcome.state, params, grads, clip_scale=1.0), outcome.params)


def test_reapply_refuses_a_learning_rate_as_the_step_does() -> None:
    config = Config.parse("sgd")
    params = tensors(0, np.float32)
    state = step(config, State.empty(), params, params).state
    with pytest.raises(InvalidConfig, match=r"^lr: nan is out of range"):
        reapply(config, state, params, params, clip_scale=1.0, lr=float("nan"))
