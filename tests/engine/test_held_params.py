"""Parameters with decay caught up are read, put and reset without losing or repeating a step's decay."""

import numpy as np
import pytest

from optim_engine import Edits, State, TensorMismatch, held_params, step
from tests.engine.cases import Case
from tests.engine.row_cases import SHAPE, config_of, drawn, table

CONFIG = config_of(Case("adamw", "adamw", {"lr": 0.1, "weight_decay": 0.5}), "lazy")


def late() -> State:
    """Return a state in which some rows have decay to catch up with."""
    state = step(CONFIG, State.empty(), {"emb": table(0), "a": table(9)}, {"emb": table(1), "a": table(8)}).state
    for t in range(2, 5):
        rows, g = drawn(t)
        state = step(CONFIG, state, {}, {"emb": g}, rows={"emb": rows}).state
    return state


def test_held_rows_are_what_the_next_step_starts_from() -> None:
    state = late()
    whole, rows = held_params(state, {"emb": None, "a": None}), drawn(7)[0]
    assert whole["emb"].tobytes() != state.array("emb", "params").tobytes()
    assert whole["a"].tobytes() == state.array("a", "params").tobytes()
    assert held_params(state, {"emb": rows})["emb"].tobytes() == whole["emb"][rows].tobytes()
    still = step(CONFIG, state, {}, {"emb": drawn(7)[1]}, rows={"emb": rows}, lr=0.0)
    assert still.params["emb"].tobytes() == whole["emb"][rows].tobytes()


def test_new_parameters_have_no_decay_to_catch_up_with() -> None:
    state = late().with_params({"emb": table(5)})
    assert held_params(state, {"emb": None})["emb"].tobytes() == table(5).tobytes()


def test_a_reset_tensor_keeps_its_parameter_with_its_decay() -> None:
    state = late()
    reset = Edits(reset=["emb"], rename={"a": "b"}).apply(state)
    assert reset.entries["emb"].slots == ("params",)
    assert reset.array("emb", "params").tobytes() == held_params(state, {"emb": None})["emb"].tobytes()


def test_rows_of_no_held_tensor_are_refused() -> None:
    with pytest.raises(TensorMismatch, match="'other' is not held"):
        held_params(late(), {"other": None})
    with pytest.raises(TensorMismatch, match="row 40 is out of range"):
        held_params(late(), {"emb": np.array([SHAPE[0]])})
