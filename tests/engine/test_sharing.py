"""Numbers that all tensors of a rule share: the same with each tensor, also with those that a step does not name."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from optim_engine import Config, Edits, State, reapply, step
from optim_engine.arrays import CHUNK, Arrays
from optim_engine.machine import ALONE, NUMPY, Machine
from optim_engine.optimizers import OPTIMIZERS
from tests.engine.cases import same_bits, tensors
from tests.engine.reported import Reported

CONFIG = Config.parse("prodigy", hyperparameters={"d0": 0.01}, groups=[])
SHAPES = {"a": (3, 2), "b": (40_000,), "c": (), "large": (2 * CHUNK + 5,)}
SHARED = ("d", "d_last", "d_max", "d_numerator")


def numbers(state: State) -> list[tuple[float, ...]]:
    """Return each tensor's copy of the numbers."""
    return [tuple(float(state.array(name, slot)) for slot in SHARED) for name in state.counts]


def taken(state: State, params: Arrays, t: int, names: Any, **options: Any) -> tuple[State, Arrays]:
    """Return the state and all parameters after a step with some of the tensors."""
    given = tensors(1 + t % 2, np.float32, SHAPES)
    sent = {name: given[name] for name in names}, {name: params[name] for name in names}
    outcome = step(CONFIG, state, sent[1], sent[0], filled=(reported := Reported()), **options)
    reported.check(outcome.state.memory)
    return outcome.state, {**params, **outcome.params}


def run(machine: Machine = ALONE, in_place: bool = False) -> State:
    state, params = State.empty(), tensors(0, np.float32, SHAPES)
    named = [["a", "b"], ["large", "a", "c"], ["b"], ["c", "large"], list(SHAPES), ["large", "b"], ["b"], ["a"]]
    for t, names in enumerate(named, 1):
        state, params = taken(state, params, t, names, machine=machine, in_place=in_place)
        assert len(set(numbers(state))) == 1
    return state


def test_every_tensor_has_the_same_numbers_after_each_step() -> None:
    d, d_last, d_max, _ = numbers(run())[0]
    assert d_max == d >= d_last > 0.01


def test_threads_and_steps_in_place_change_no_bit() -> None:
    expected = run().memory.tobytes()
    with ThreadPoolExecutor(3) as pool:
        for in_place in (False, True):
            assert run(Machine(NUMPY, 4, pool), in_place).memory.tobytes() == expected


def test_a_new_tensor_takes_the_numbers_of_the_others() -> None:
    params = tensors(0, np.float32, SHAPES)
    state, params = taken(State.empty(), params, 1, ["a"])
    state, params = taken(state, params, 2, ["a"])
    estimate = float(state.array("a", "d"))
    state, _ = taken(state, params, 3, ["c"])
    assert state.array("c", "d_last") == estimate
    edited = Edits(reset=["a"], rename={"c": "x"}).apply(state)
    assert edited.array("x", "d") == state.array("c", "d")


def test_a_replay_reads_them_from_the_state() -> None:
    params = tensors(0, np.float32, SHAPES)
    state, after = taken(State.empty(), params, 1, SHAPES)
    state, now = taken(state, after, 2, SHAPES)
    again = reapply(CONFIG, state, after, tensors(1, np.float32, SHAPES), clip_scale=1.0)
    assert same_bits(again, now)


def test_gradients_of_zero_leave_the_numbers() -> None:
    zeros = {"w": np.zeros(3)}
    outcome = step(CONFIG, State.empty(), {"w": np.ones(3)}, zeros)
    assert np.array_equal(outcome.params["w"], np.ones(3))
    assert numbers(outcome.state) == [(0.01, 0.01, 0.01, 0.0)]


def test_tensors_of_another_rule_leave_the_numbers_alone() -> None:
    groups = [{"match": ["a", "b"], "optimizer": "prodigy", "d0": 0.01}]
    mixed = Config.parse("sgd", groups=groups)
    params, grads = tensors(0, np.float32, SHAPES), tensors(1, np.float32, SHAPES)
    state, alone = State.empty(), State.empty()
    for _ in range(2):
        outcome = step(mixed, state, params, grads)
        alone = step(CONFIG, alone, *({name: of[name] for name in "ab"} for of in (params, grads))).state
        state, params = outcome.state, outcome.params
    assert state.array("a", "d_numerator") == alone.array("b", "d_numerator") != 0
    assert state.entries["c"].slots == ()
    later = step(mixed, state, {"c": params["c"]}, {"c": grads["c"]}).state
    assert later.array("a", "d_last") == state.array("a", "d_last")


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_shared_slots_are_float64_scalars(name: str) -> None:
    slots = {slot.name: slot for slot in OPTIMIZERS[name].keeps}
    for slot in getattr(OPTIMIZERS[name], "shared", ()):
        assert (slots[slot].shape_of((2, 3)), slots[slot].dtype) == ((), np.float64)
