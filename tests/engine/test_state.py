"""The state: what is kept for each tensor, where it stands in the memory, and how it follows the settings."""

import ml_dtypes
import numpy as np
import pytest

from optim_engine import Config, Entry, Layout, Spec, State, step
from tests.engine.cases import RULES, Case, same_bits, tensors

ENTRIES = {
    "half": Entry(Spec((3,), np.dtype(np.float16)), ("m", "v", "params")),
    "double": Entry(Spec((5,), np.dtype(np.float64)), ("m", "v", "params")),
    "empty": Entry(Spec((0, 7), np.dtype(np.float32)), ("m", "v", "params")),
    "single": Entry(Spec((), np.dtype(np.float32)), ("m", "v", "v_max", "params")),
    "brain": Entry(Spec((3,), np.dtype(ml_dtypes.bfloat16)), ("m", "v", "params")),
}


def test_equal_states_have_equal_bytes_gaps_included() -> None:
    """Memory is used again: what it held before must not show between the tensors."""
    for garbage in (0, 255):
        State.allocate(0, Layout({"x": Entry(Spec((1 << 16,), np.dtype(np.float64)), ("m",))}), {}).memory[:] = garbage
        state = State.allocate(1, Layout(ENTRIES), dict.fromkeys(ENTRIES, 1))
        for _, _, array in state.arrays():
            array[...] = 1
        taken = np.zeros(len(state.memory), bool)
        for tensor, slot in state.layout.offsets:
            start, end = state.layout.range(tensor, slot)
            taken[start:end] = True
        assert not state.memory[~taken].any()


def test_arrays_are_views_with_their_shape_and_dtype() -> None:
    state = State.allocate(0, Layout(ENTRIES), dict.fromkeys(ENTRIES, 0))
    for slot, tensor, array in state.arrays():
        assert array.shape == ENTRIES[tensor].spec.shape
        assert array.dtype == ENTRIES[tensor].dtype_of(slot)
        assert array.size == 0 or np.shares_memory(array, state.memory)
    assert {(tensor, array.dtype.name) for tensor, array in state.held().items()} == {
        ("half", "float16"),
        ("double", "float64"),
        ("empty", "float32"),
        ("single", "float32"),
        ("brain", "bfloat16"),
    }


@pytest.mark.parametrize("case", RULES, ids=lambda case: case.name)
def test_a_state_copied_as_bytes_continues_as_the_original(case: Case) -> None:
    params = case.tensors(0, np.float32)
    state = step(case.config, State.empty(), params, case.tensors(1, np.float32)).state
    specs = [(name, entry.spec.shape, entry.spec.dtype.name, entry.slots) for name, entry in state.entries.items()]
    layout = Layout({name: Entry(Spec(shape, np.dtype(dtype)), slots) for name, shape, dtype, slots in specs})
    copy = State.allocate(state.t, layout, dict(state.counts))
    copy.memory.data[:] = state.memory.tobytes()
    outcomes = [step(case.config, each, params, case.tensors(2, np.float32)) for each in (state, copy)]
    assert same_bits(outcomes[0].params, outcomes[1].params)
    assert outcomes[0].state.memory.tobytes() == outcomes[1].state.memory.tobytes()


def test_new_settings_start_slots_at_zero_and_drop_others() -> None:
    plain, amsgrad = (Config.parse("adam", hyperparameters={"amsgrad": flag}) for flag in (False, True))
    params, state = tensors(0, np.float32), State.empty()
    for t, config in enumerate([plain, plain, amsgrad, amsgrad, plain], start=1):
        outcome = step(config, state, params, tensors(t, np.float32))
        for name, entry in outcome.state.entries.items():
            assert ("v_max" in entry.slots) == (config is amsgrad)
            if t == 3:
                assert (outcome.state.array(name, "v_max") == outcome.state.array(name, "v")).all()
        params, state = outcome.params, outcome.state
    unbroken_params, unbroken = tensors(0, np.float32), State.empty()
    for t in range(1, 6):
        outcome = step(plain, unbroken, unbroken_params, tensors(t, np.float32))
        unbroken_params, unbroken = outcome.params, outcome.state
    assert state.memory.tobytes() == unbroken.memory.tobytes()
