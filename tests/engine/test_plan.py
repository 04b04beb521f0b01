"""The plan of a step: packing and order are for speed, and change no bit of a result."""

from typing import Any

import numpy as np
import pytest

from optim_engine import Config, State, arrays, plan, step
from tests.engine.cases import Case, each_case, each_case_and_dtype, tensors
from tests.engine.packs import SHAPES, run, same


@each_case_and_dtype
def test_packed_tensors_come_out_as_unpacked_ones(
    case: Case, dtype: type[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = run(case, dtype)
    monkeypatch.setattr(plan, "PACK_BELOW", 0)
    assert same(packed, run(case, dtype))


@each_case
def test_packs_of_any_size_come_out_alike(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(case, np.float64)
    monkeypatch.setattr(plan, "LARGEST_PACK", 10)
    monkeypatch.setattr(arrays, "BLOCK", 16)
    assert same(whole, run(case, np.float64))


@each_case_and_dtype
def test_the_order_of_names_changes_no_bit_clipped_or_not(case: Case, dtype: type[Any]) -> None:
    forwards, backwards = run(case, dtype), run(case, dtype, backwards=True)
    assert same(forwards, backwards)
    assert forwards.metrics == backwards.metrics
    assert forwards.state.memory.tobytes() == backwards.state.memory.tobytes()


def test_tensors_of_different_dtypes_are_packed_apart() -> None:
    config = Config.parse("adamw", hyperparameters={"amsgrad": True})
    mixed = {f"{name}.{dtype.__name__}": dtype for name in "abc" for dtype in (np.float64, np.float32, np.float16)}
    params, grads = ({name: tensors(seed, dtype)["gain"] for name, dtype in mixed.items()} for seed in (0, 1))
    together = step(config, State.empty(), params, grads)
    together = step(config, together.state, together.params, grads)
    for name, dtype in mixed.items():
        alone = step(config, State.empty(), {name: params[name]}, {name: grads[name]})
        alone = step(config, alone.state, alone.params, {name: grads[name]})
        assert together.params[name].dtype == dtype
        assert together.params[name].tobytes() == alone.params[name].tobytes()


@pytest.mark.parametrize("hold", [False, True], ids=["sent", "held"])
def test_the_tensors_of_a_pack_are_adjacent_in_memory(hold: bool) -> None:
    """A pack's moments are then one view of the memory, and nothing is copied. Names of groups alternate."""
    config = Config.parse("adamw", hold_params=hold)
    shapes = {f"{i}.{kind}": (3,) for i in range(5) for kind in ("bias", "weight")}
    state = step(config, State.empty(), tensors(0, np.float32, shapes), tensors(1, np.float32, shapes)).state
    (made,) = plan.plans_of(state.layout)
    assert len(made.runs) == 2
    assert all(len(spans.ranges) == 1 for run in made.runs for spans in run.spans.values())


def test_a_change_of_settings_takes_hold_at_the_next_step() -> None:
    """A plan is kept with the layout; it must not outlive the configuration that it was made for."""
    params, grads = tensors(0, np.float64, SHAPES), tensors(1, np.float64, SHAPES)
    config = {
        decay: Config.parse("sgd", hyperparameters={"lr": 1}, groups=[{"match": ["a"], "weight_decay": decay}])
        for decay in (0, 1, 2)
    }
    state = step(config[0], State.empty(), params, grads).state
    for decay in (1, 2, 0, 1):
        outcome = step(config[decay], state, params, grads)
        np.testing.assert_array_equal(outcome.params["a"], params["a"] - (grads["a"] + decay * params["a"]))
        np.testing.assert_array_equal(outcome.params["c"], params["c"] - grads["c"])
        state = outcome.state


def test_a_pack_takes_tensors_up_to_a_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "LARGEST_PACK", 10)
    shapes = {f"{i}": (4,) for i in range(9)}
    state = step(
        Config.parse("sgd"), State.empty(), tensors(0, np.float32, shapes), tensors(1, np.float32, shapes)
    ).state
    (made,) = plan.plans_of(state.layout)
    assert [len(run.tensors) for run in made.runs] == [3, 2, 3, 1]


def test_a_session_plans_once_and_keeps_few_plans() -> None:
    config = Config.parse("adamw")
    params, grads = tensors(0, np.float32, SHAPES), tensors(1, np.float32, SHAPES)
    state = step(config, State.empty(), params, grads).state
    layout = state.layout
    for _ in range(5):
        state = step(config, state, params, grads).state
    assert state.layout is layout
    assert len(plan.plans_of(layout)) == 1
    for i in range(50):
        some = [name for j, name in enumerate(SHAPES) if i & (1 << j)] or ["a"]
        state = step(config, state, {name: params[name] for name in some}, {name: grads[name] for name in some}).state
    assert state.layout is layout
    assert len(plan.plans_of(layout)) <= plan.PLANS_KEPT
