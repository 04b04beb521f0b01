"""A run: its vectors are read from the arrays given, and written into them."""

import numpy as np

from optim_engine import State, step
from tests.engine.cases import SHAPES, Case, tensors


def test_new_parameters_are_written_into_the_arrays_of_out() -> None:
    case = Case("", "adamw")
    shapes = {**SHAPES, "big": (300, 300)}
    params, grads = tensors(0, np.float16, shapes), tensors(1, np.float16, shapes)
    out = {name: np.empty_like(array) for name, array in params.items()}
    outcome = step(case.config, State.empty(), params, grads, out=out)
    expected = step(case.config, State.empty(), params, grads).params
    assert all(outcome.params[name] is out[name] for name in shapes)
    assert all(np.array_equal(out[name], expected[name]) for name in shapes)
