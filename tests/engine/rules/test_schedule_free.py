"""The schedule-free rules: the mean x of the iterates z, which follows from y and z alone."""

from typing import Any

import numpy as np
import pytest

from optim_engine import Config, Edits, State, step
from optim_engine.arrays import Arrays
from optim_engine.held_views import viewed
from tests.engine.cases import same_bits, tensors

RULES = ["schedule_free_adamw", "schedule_free_sgd"]


def taken(config: Config, state: State, t: int) -> tuple[State, Arrays]:
    outcome = step(config, state, {}, tensors(t, np.float64))
    return outcome.state, viewed(config, outcome.state, "eval")


@pytest.mark.parametrize("optimizer", RULES)
def test_x_is_the_mean_of_the_iterates(optimizer: str) -> None:
    config = Config.parse(optimizer, hyperparameters={"lr": 0.1, "weight_decay": 0.1}, hold_params=True)
    state, seen = State.empty().with_params(tensors(0, np.float64)), []
    for t in range(1, 8):
        state, x = taken(config, state, t)
        seen.append({name: state.array(name, "z") for name in x})
    for name, mean in x.items():
        np.testing.assert_allclose(mean, np.mean([z[name] for z in seen], axis=0), rtol=0, atol=1e-14)


def test_the_weights_of_the_mean_rise_in_the_warmup() -> None:
    settings = {"lr": 1.0, "warmup_steps": 3, "r": 1, "momentum": 0.5}
    config = Config.parse("schedule_free_sgd", hyperparameters=settings, hold_params=True)
    state, sums = State.empty().with_params({"w": np.zeros(1)}), []
    for _ in range(4):
        state = step(config, state, {}, {"w": np.ones(1)}).state
        sums.append(float(state.array("w", "weight_sum")))
    assert sums == pytest.approx(np.cumsum([1 * (1 / 3) ** 2, 2 * (2 / 3) ** 2, 3, 4]))
    assert state.array("w", "lr_max") == 1


def test_a_rate_of_zero_leaves_everything_where_it_is() -> None:
    config = Config.parse("schedule_free_adamw", hold_params=True)
    state = State.empty().with_params(tensors(0, np.float64))
    outcome = step(config, state, {}, tensors(1, np.float64), lr=0.0)
    assert same_bits(outcome.params, tensors(0, np.float64))
    assert same_bits(viewed(config, outcome.state, "eval"), tensors(0, np.float64))


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_a_reset_tensor_begins_at_its_parameter_again(dtype: Any) -> None:
    config = Config.parse("schedule_free_adamw", hold_params=True)
    state = State.empty().with_params({"w": np.ones(3, dtype)})
    for t in range(1, 4):
        state = step(config, state, {}, {"w": np.full(3, t, dtype)}).state
    state = Edits(reset=["w"]).apply(state)
    anew = State.empty().with_params(state.held())
    after, fresh = (step(config, one, {}, {"w": np.ones(3, dtype)}).state for one in (state, anew))
    assert after.memory.tobytes() == fresh.memory.tobytes()
