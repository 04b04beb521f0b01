"""A session may hold the parameters: they come once, and are then what they would be if they were sent every time."""

from dataclasses import replace
from typing import Any

import numpy as np

from optim_engine import Config, State, step
from tests.engine.cases import SHAPES, Case, each_case_and_dtype, each_dtype, same_bits, tensors

HOLDING = Config.parse("adamw", hold_params=True)


@each_case_and_dtype
def test_held_parameters_equal_those_sent_with_every_step(case: Case, dtype: type[Any]) -> None:
    holding = replace(case.config, hold_params=True)
    params, sent, held = case.tensors(0, dtype), State.empty(), State.empty()
    for t in range(1, 6):
        grads = case.tensors(t, dtype)
        expected = step(case.config, sent, params, grads)
        outcome = step(holding, held, case.tensors(0, dtype) if t == 1 else {}, grads)
        assert same_bits(outcome.params, expected.params)
        assert same_bits(outcome.state.held(), expected.params)
        assert outcome.metrics == expected.metrics
        params, sent, held = expected.params, expected.state, outcome.state


@each_dtype
def test_parameters_put_first_equal_those_sent_with_a_step(dtype: type[Any]) -> None:
    params, grads = tensors(0, dtype), tensors(1, dtype)
    put = State.empty().with_params(params)
    assert (put.t, set(put.counts.values())) == (0, {0})
    assert same_bits(put.held(), params)
    put_first = step(HOLDING, put, {}, grads)
    sent_with = step(HOLDING, State.empty(), params, grads)
    assert same_bits(put_first.params, sent_with.params)
    assert put_first.metrics == sent_with.metrics


def test_a_tensor_may_come_late_with_its_parameter() -> None:
    params, grads = tensors(0, np.float32), tensors(1, np.float32)
    early, late = ["layer.weight", "layer.bias"], ["gain"]
    state = step(HOLDING, State.empty(), {n: params[n] for n in early}, {n: grads[n] for n in early}).state
    outcome = step(HOLDING, state, {n: params[n] for n in late}, grads)
    assert outcome.state.counts == {"layer.weight": 2, "layer.bias": 2, "gain": 1}
    alone = step(Config.parse("adamw"), State.empty(), {"gain": params["gain"]}, {"gain": grads["gain"]})
    assert outcome.params["gain"] == alone.params["gain"]


def test_putting_parameters_again_replaces_them_and_keeps_moments_and_counts() -> None:
    params, grads = tensors(0, np.float32), tensors(1, np.float32)
    state = step(HOLDING, State.empty(), params, grads).state
    memory = state.memory.tobytes()
    replaced = state.with_params({"gain": tensors(7, np.float32)["gain"]})
    assert (replaced.t, replaced.counts) == (1, state.counts)
    assert replaced.held()["gain"] == tensors(7, np.float32)["gain"]
    for slot, name, array in state.arrays():
        if (slot, name) != ("params", "gain"):
            assert replaced.array(name, slot).tobytes() == array.tobytes()
    assert state.memory.tobytes() == memory


def test_a_step_leaves_other_held_parameters_as_they_are() -> None:
    state = State.empty().with_params(tensors(0, np.float32))
    after = step(HOLDING, state, {}, {"gain": tensors(1, np.float32)["gain"]}).state.held()
    assert {name for name in SHAPES if after[name].tobytes() != state.held()[name].tobytes()} == {"gain"}


def test_transposed_parameters_are_held_element_by_element() -> None:
    w = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal(State.empty().with_params({"w": w.T}).held()["w"], w.T)


def test_out_is_not_used_for_held_parameters() -> None:
    params, grads = tensors(0, np.float32), tensors(1, np.float32)
    out = {name: np.zeros_like(array) for name, array in params.items()}
    outcome = step(HOLDING, State.empty(), params, grads, out=out)
    assert same_bits(outcome.params, outcome.state.held())
    assert not any(array.any() for array in out.values())
