"""The parameters that a step answers: a mapping, whose arrays are views of a few vectors."""

from collections.abc import Mapping

import numpy as np
import pytest

from optim_engine import Config, State, TensorMismatch, step
from optim_engine.arrays import Array
from optim_engine.views import Views
from tests.engine.cases import same_bits, tensors

SHAPES = {"z": (3,), "a": (2, 2), "scalar": (), "empty": (0, 4), "big": (200, 200)}


def answered(*, hold: bool = False) -> Mapping[str, Array]:
    params, grads = tensors(0, np.float32, SHAPES), tensors(1, np.float32, SHAPES)
    return step(Config.parse("adamw", hold_params=hold), State.empty(), params, grads).params


@pytest.mark.parametrize("hold", [False, True], ids=["sent", "held"])
def test_parameters_are_a_mapping_in_the_order_of_the_gradients(hold: bool) -> None:
    params = answered(hold=hold)
    assert list(params) == list(params.keys()) == [name for name, _ in params.items()] == list(SHAPES)
    assert [array.shape for array in params.values()] == list(SHAPES.values())
    assert len(params) == len(SHAPES)
    assert "a" in params
    assert "other" not in params
    assert params.get("other") is None
    with pytest.raises(KeyError, match="other"):
        params["other"]


def test_parameters_turn_into_a_dictionary() -> None:
    params = answered()
    copy = dict(params)
    assert copy == {**params} == params
    assert repr(copy) == repr(params)
    assert all(params[name] is array for name, array in copy.items())


def test_views_share_the_memory_of_the_state() -> None:
    params, grads = tensors(0, np.float32, SHAPES), tensors(1, np.float32, SHAPES)
    outcome = step(Config.parse("adamw", hold_params=True), State.empty(), params, grads)
    assert all(np.shares_memory(array, outcome.state.memory) for array in outcome.params.values() if array.size)


def test_answered_parameters_give_the_same_bits_as_copies() -> None:
    config, grads = Config.parse("adamw"), tensors(1, np.float32, SHAPES)
    first = step(config, State.empty(), tensors(0, np.float32, SHAPES), grads)
    second = step(config, first.state, first.params, grads)
    assert isinstance(second.params, Views)
    copies = {name: array.copy() for name, array in first.params.items()}
    assert same_bits(second.params, step(config, first.state, copies, grads).params)


def test_an_answered_parameter_that_is_changed_in_place_counts() -> None:
    config, grads = Config.parse("adamw"), tensors(1, np.float32, SHAPES)
    first = step(config, State.empty(), tensors(0, np.float32, SHAPES), grads)
    second = step(config, first.state, first.params, grads)
    second.params["a"][0, 1] = 7
    copies = {name: array.copy() for name, array in second.params.items()}
    left, right = (step(config, second.state, params, grads).params for params in (second.params, copies))
    assert same_bits(left, right)


def test_parameters_that_another_session_answered_are_taken_by_name() -> None:
    params, grads = tensors(0, np.float32, SHAPES), tensors(1, np.float32, SHAPES)
    groups = [{"match": ["a"], "lr": 0.5}]
    other = step(Config.parse("sgd", groups=groups), State.empty(), params, grads).params
    state = step(Config.parse("adamw"), State.empty(), params, grads).state
    left, right = (step(Config.parse("adamw"), state, given, grads).params for given in (other, dict(other)))
    assert same_bits(left, right)


def test_parameters_that_another_session_answered_are_checked() -> None:
    config, params = Config.parse("adamw"), tensors(0, np.float32, SHAPES)
    state = step(config, State.empty(), params, params).state
    flat = {**params, "a": params["a"].reshape(4)}
    other = step(config, State.empty(), flat, flat).params
    with pytest.raises(TensorMismatch, match="'a'"):
        step(config, state, other, params)
