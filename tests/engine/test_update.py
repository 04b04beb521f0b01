"""A step writes to none of its inputs: neither the arrays nor the state."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from optim_engine import NonFinite, State, reapply, step
from tests.engine.cases import SHAPES, Case, each_case, each_case_and_dtype, tensors


def frozen(state: State) -> State:
    memory = state.memory.view()
    memory.flags.writeable = False
    return replace(state, memory=memory)


@each_case_and_dtype
def test_read_only_arrays_and_a_read_only_state_are_enough(case: Case, dtype: type[Any]) -> None:
    params, state = case.tensors(0, dtype), frozen(State.empty())
    for t in range(1, 4):
        before = state.memory.tobytes()
        outcome = step(case.config, state, params, case.tensors(t, dtype))
        reapply(case.config, outcome.state, params, case.tensors(t, dtype), clip_scale=outcome.metrics.clip_scale)
        assert state.memory.tobytes() == before
        state = frozen(outcome.state)


@each_case
def test_a_read_only_state_with_held_parameters_is_enough(case: Case) -> None:
    config = replace(case.config, hold_params=True)
    state = frozen(State.empty().with_params(case.tensors(0, np.float32)))
    for t, names in enumerate([list(SHAPES), ["gain"], ["layer.weight", "gain"]]):
        grads = {name: case.tensors(t, np.float32)[name] for name in names}
        before = state.memory.tobytes()
        after = step(config, state, {}, grads).state
        assert state.memory.tobytes() == before
        state = frozen(after)


@pytest.mark.parametrize("names", [list(SHAPES), ["gain"]], ids=["all", "some"])
def test_results_share_no_memory_with_inputs(names: list[str]) -> None:
    case = Case("", "adamw", {"amsgrad": True})
    params, grads = ({name: tensors(seed, np.float32)[name] for name in names} for seed in (0, 1))
    first = step(case.config, State.empty(), params, grads)
    second = step(case.config, first.state, first.params, grads)
    inputs = [*params.values(), *grads.values(), first.state.memory, *first.params.values()]
    outputs = [second.state.memory, *second.params.values()]
    assert not any(np.shares_memory(a, b) for a in inputs for b in outputs)


def test_a_refused_step_has_changed_nothing() -> None:
    case = Case("", "adamw", around={"clip": {"global_norm": 1.0}})
    params, grads = tensors(0, np.float32), tensors(1, np.float32)
    state = step(case.config, State.empty(), params, grads).state
    before = state.memory.tobytes()
    bad = {**grads, "layer.weight": np.full((3, 4), np.nan, np.float32)}
    with pytest.raises(NonFinite):
        step(case.config, state, params, bad)
    assert (state.memory.tobytes(), state.t, set(state.counts.values())) == (before, 1, {1})
