"""The interface of a rule: its slots, with their shapes and dtypes."""

from typing import Any

import numpy as np
import pytest

from optim_engine import OPTIMIZERS, State, step
from optim_engine.layout import SLOTS
from tests.engine.cases import Case, each_case_and_dtype


@each_case_and_dtype
def test_a_state_keeps_the_slots_of_its_rule(case: Case, dtype: type[Any]) -> None:
    state = step(case.config, State.empty(), case.tensors(0, dtype), case.tensors(1, dtype)).state
    wide = np.float64 if dtype is np.float64 else np.float32
    for name, entry in state.entries.items():
        h = case.config.hyperparameters_of(case.config.group_of(name))
        assert entry.slots == OPTIMIZERS[case.optimizer].slots(h, entry.spec.shape)
        assert entry.moments == entry.slots
        assert all(state.array(name, slot).dtype == (SLOTS[slot].dtype or wide) for slot in entry.slots)
        assert all(state.array(name, slot).shape == SLOTS[slot].shape_of(entry.spec.shape) for slot in entry.slots)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_rule_names_its_slots_in_the_memorys_order(optimizer: str) -> None:
    """A digest names them so, and a state file's are read so."""
    kept = [slot.name for slot in OPTIMIZERS[optimizer].keeps]
    assert kept == [slot for slot in SLOTS if slot in kept]
