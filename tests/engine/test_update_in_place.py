"""A step in place has the bits of a step apart, and writes to nothing but the state that was given up."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from optim_engine import Config, NonFinite, State, TensorMismatch, step
from optim_engine.arrays import Array
from optim_engine.buffers import is_sole
from optim_engine.machine import Machine
from tests.engine.cases import ALL, DTYPES, HOLD, KERNELS, Case, each_machine, one_cell_each, same_bits, tensors
from tests.engine.packs import SHAPES, same

LARGE = 1 << 15
HELD = Config.parse("adamw", hold_params=True)


def own(state: State) -> State:
    """Return the state with a memory of its own."""
    memory = State.allocate(state.t, state.layout, state.counts).memory
    memory[:] = state.memory
    return replace(state, memory=memory)


@one_cell_each("case, dtype, hold", ALL, DTYPES, HOLD)
def test_a_step_in_place_has_the_bits_of_one_apart(case: Case, dtype: type[Any], hold: bool) -> None:
    config = replace(case.config, hold_params=hold)
    params: Mapping[str, Array] = case.tensors(0, dtype, SHAPES)
    state = step(config, State.empty(), params, case.tensors(1, dtype, SHAPES)).state
    for t, names in enumerate([[*SHAPES], ["a", "big"], ["c", "e", "f"], [*SHAPES]], start=2):
        grads = {name: array for name, array in case.tensors(t, dtype, SHAPES).items() if name in names}
        sent = {} if hold else {name: params[name] for name in names}
        mine, filled = own(state), np.zeros(len(state.memory), int)

        def count(memory: Array, start: int, end: int, filled: Array = filled) -> None:
            filled[start:end] += 1

        apart = step(config, state, sent, grads)
        placed = step(config, mine, sent, grads, in_place=True, filled=count)
        assert placed.state.memory is mine.memory
        assert same(replace(placed, params=dict(placed.params)), replace(apart, params=dict(apart.params)))
        assert placed.state.memory.tobytes() == apart.state.memory.tobytes()
        assert (filled == 1).all()
        params, state = {**params, **apart.params}, apart.state


@one_cell_each("case, machine", ALL, KERNELS)
def test_a_large_step_in_place_has_the_same_bits(case: Case, machine: Machine) -> None:
    config = replace(case.config, hold_params=True)
    shapes = {"w": (64, LARGE // 64), "bias": (300,)}
    state = step(config, State.empty(), case.tensors(0, np.float32, shapes), case.tensors(1, np.float32, shapes)).state
    for t in range(2, 4):
        grads = case.tensors(t, np.float32, shapes)
        apart = step(config, state, {}, grads, machine=machine)
        placed = step(config, own(state), {}, grads, machine=machine, in_place=True)
        assert placed.state.memory.tobytes() == apart.state.memory.tobytes()
        assert same_bits(placed.params, apart.params)
        assert placed.metrics == apart.metrics
        state = apart.state


@each_machine
@pytest.mark.parametrize("size", [0, 1e-25, 1e30, np.nan])
def test_norms_out_of_range_are_the_same_in_place(machine: Machine, size: float) -> None:
    """Such norms are computed again, and need the parameters from before the step."""
    x = np.full(20_000, size, np.float32)
    x[:5000] = 1e-16
    grads = {"x": np.nan_to_num(x)}
    state = step(HELD, State.empty(), {"x": x}, grads, machine=machine).state
    apart = step(HELD, state, {}, grads, machine=machine)
    placed = step(HELD, own(state), {}, grads, machine=machine, in_place=True)
    assert repr(placed.metrics) == repr(apart.metrics)
    assert placed.state.memory.tobytes() == apart.state.memory.tobytes()


def test_a_step_in_place_leaves_one_view_of_the_memory() -> None:
    shapes = {"w": (LARGE,)}
    state = step(HELD, State.empty(), tensors(0, np.float32, shapes), tensors(1, np.float32, shapes)).state
    state = step(HELD, state, {}, tensors(2, np.float32, shapes), in_place=True).state
    assert is_sole(state.memory)


def test_new_tensors_leave_the_given_state_whole() -> None:
    state = step(HELD, State.empty(), tensors(0, np.float32), tensors(1, np.float32)).state
    before, more = state.memory.tobytes(), {"more": np.ones(3, np.float32)}
    outcome = step(HELD, state, more, more, in_place=True)
    assert state.memory.tobytes() == before
    assert not np.shares_memory(outcome.state.memory, state.memory)


@pytest.mark.parametrize("around", [{}, {"clip": {"global_norm": 1.0}}, {"on_non_finite": "skip"}])
def test_a_state_is_whole_after_refusals_that_need_no_update(around: dict[str, Any]) -> None:
    """A gradient that is not finite is found during the update, unless its norm is needed before."""
    config = Config.parse("adamw", hold_params=True, **around)
    state = step(config, State.empty(), tensors(0, np.float32), tensors(1, np.float32)).state
    before = state.memory.tobytes()
    with pytest.raises(TensorMismatch):
        step(config, state, {}, {"gain": np.ones(2, np.float32)}, in_place=True)
    assert state.memory.tobytes() == before
    bad = {"gain": np.float32(np.nan).reshape(())}
    if around.get("on_non_finite") == "skip":
        assert step(config, state, {}, bad, in_place=True).skipped
    else:
        with pytest.raises(NonFinite):
            step(config, state, {}, bad, in_place=True)
    assert (state.memory.tobytes() == before) == bool(around)
