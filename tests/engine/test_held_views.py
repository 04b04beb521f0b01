"""The views of held parameters, and the tensors that have none of their own yet."""

import ml_dtypes
import numpy as np

from optim_engine import Config, Edits, State, step
from optim_engine.held_views import viewed, views_of

AVERAGED = Config.parse("sgd", hold_params=True, average={"decay": 0.5})


def test_a_session_has_the_views_of_its_settings() -> None:
    assert views_of(AVERAGED) == ("average",)
    assert views_of(Config.parse("sgd", hold_params=True)) == ()


def test_a_tensor_that_no_step_updated_answers_its_parameter() -> None:
    params = {"a": np.float32([1, 2]), "b": np.ones(1, ml_dtypes.bfloat16)}
    state = State.empty().with_params(params)
    state = step(AVERAGED, state, {}, {"a": np.float32([8, 8])}).state
    state = step(AVERAGED, state, {}, {"a": np.float32([8, 8])}).state
    found = viewed(AVERAGED, state, "average")
    assert found["b"] == 1
    assert found["b"].dtype == ml_dtypes.bfloat16
    after = params["a"] - np.float32(0.008)
    np.testing.assert_allclose(found["a"], (after + 2 * (after - np.float32(0.008))) / 3, rtol=1e-6)
    anew = viewed(AVERAGED, Edits(reset=["a"]).apply(state), "average")
    assert np.array_equal(anew["a"], state.array("a", "params"))


def test_evaluated_parameters_are_rounded_once() -> None:
    config = Config.parse("schedule_free_sgd", hyperparameters={"momentum": 0.75}, hold_params=True)
    assert views_of(config) == ("eval",)
    state = State.empty().with_params({"a": np.ones(4, np.float16), "b": np.ones(1)})
    for g in np.float16([0.1, 0.2]):
        state = step(config, state, {}, {"a": np.full(4, g)}).state
    y, z = state.array("a", "params").astype(np.float32), state.array("a", "z")
    found = viewed(config, state, "eval")
    assert np.array_equal(found["a"], (y + np.float32(1 - 1 / 0.75) * (z - y)).astype(np.float16))
    assert found["b"] == 1


def test_a_tensor_without_such_a_view_answers_its_parameter() -> None:
    groups = [{"match": ["a"], "optimizer": "schedule_free_sgd"}]
    config = Config.parse("sgd", groups=groups, hold_params=True)
    assert views_of(config) == ("eval",)
    state = State.empty().with_params({"a": np.ones(2), "b": np.ones(2)})
    for g in (1.0, 2.0):
        state = step(config, state, {}, {name: np.full(2, g) for name in "ab"}).state
    found = viewed(config, state, "eval")
    assert np.array_equal(found["b"], state.array("b", "params"))
    assert not np.array_equal(found["a"], state.array("a", "params"))
