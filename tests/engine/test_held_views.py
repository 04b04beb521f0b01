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
