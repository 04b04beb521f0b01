"""Each tensor counts its own updates: a step may name some of the tensors, and one may come late."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from optim_engine import Config, State, step
from optim_engine.arrays import Array
from optim_engine.rule import SharingRule
from tests.engine.cases import RULES, SHAPES, Case, each_dtype, same_bits, tensors

APART = [case for case in RULES if not isinstance(case.config.rule_of(None), SharingRule)]
"""The cases whose tensors know nothing of each other."""


def run(case: Case, plan: Mapping[int, list[str]], dtype: type[Any] = np.float32) -> tuple[State, dict[str, Array]]:
    """Run steps that name those tensors each, from the gradients of that number."""
    params, state = case.tensors(0, dtype), State.empty()
    for t, names in plan.items():
        grads = {name: case.tensors(t, dtype)[name] for name in names}
        outcome = step(case.config, state, {name: params[name] for name in names}, grads)
        params, state = {**params, **outcome.params}, outcome.state
    return state, params


@pytest.mark.parametrize("case", APART, ids=lambda case: case.name)
def test_a_tensor_that_comes_late_is_updated_as_if_alone(
    case: Case,
) -> None:
    late = {t: ["layer.weight", *(["gain"] if t >= 20 else [])] for t in range(1, 30)}
    state, params = run(case, late)
    assert (state.t, state.counts) == (29, {"layer.weight": 29, "gain": 10})
    alone, expected = run(case, {t: ["gain"] for t in range(20, 30)})
    assert params["gain"].tobytes() == expected["gain"].tobytes()
    for slot in state.entries["gain"].moments:
        assert state.array("gain", slot).tobytes() == alone.array("gain", slot).tobytes()


@pytest.mark.parametrize("case", APART, ids=lambda case: case.name)
def test_tensors_that_take_turns_are_updated_as_if_alone(case: Case) -> None:
    turns = {t: [name for i, name in enumerate(SHAPES) if t % (i + 1) == 0] for t in range(1, 25)}
    state, params = run(case, turns)
    assert state.counts == {"layer.weight": 24, "layer.bias": 12, "gain": 8}
    for name in SHAPES:
        alone, expected = run(case, {t: [name] for t, names in turns.items() if name in names})
        assert params[name].tobytes() == expected[name].tobytes()
        for slot in state.entries[name].moments:
            assert state.array(name, slot).tobytes() == alone.array(name, slot).tobytes()


@each_dtype
def test_a_tensor_that_a_step_omits_keeps_its_bits(dtype: type[Any]) -> None:
    case = Case("", "adamw", {"amsgrad": True})
    before, _ = run(case, {1: list(SHAPES), 2: list(SHAPES)}, dtype)
    after, _ = run(case, {1: list(SHAPES), 2: list(SHAPES), 3: ["layer.bias"]}, dtype)
    for slot, name, array in before.arrays():
        same = array.tobytes() == after.array(name, slot).tobytes()
        assert same == (name != "layer.bias"), (name, slot)
    assert after.counts == {**before.counts, "layer.bias": 3}


def test_the_session_counts_steps_and_the_schedule_goes_by_those() -> None:
    config = Config.parse("sgd", hyperparameters={"lr": 1}, schedule={"kind": "linear_warmup", "warmup_steps": 4})
    one = np.ones(1)
    state = State.empty()
    for t, name in enumerate(["a", "b", "a", "c"], start=1):
        outcome = step(config, state, {name: one}, {name: one})
        state = outcome.state
        assert outcome.params[name] == 1 - t / 4
    assert (state.t, state.counts) == (4, {"a": 2, "b": 1, "c": 1})


def test_answers_stand_in_the_order_of_the_request() -> None:
    names = ["layer.bias", "gain", "layer.weight"]
    params, grads = ({name: tensors(seed, np.float32)[name] for name in names} for seed in (0, 1))
    outcome = step(Config.parse("adamw"), State.empty(), params, grads)
    assert list(outcome.params) == names
    assert not same_bits(outcome.params, params)
