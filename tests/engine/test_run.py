"""A run: its vectors are read from the arrays given, and written into them."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from optim_engine import Config, State, step
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


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, ml_dtypes.bfloat16])
def test_tiny_arrays_of_any_memory_are_gathered_alike(dtype: type[Any]) -> None:
    plain = tensors(1, dtype, {"a": (3, 4), "b": (5,), "c": (), "d": (2, 3)})
    forms = {
        "a": plain["a"].T.copy().T,
        "b": np.repeat(plain["b"], 2)[::2],
        "c": plain["c"],
        "d": np.frombuffer(b"x" + plain["d"].tobytes(), dtype, offset=1).reshape(2, 3),
    }
    config = Config.parse("adamw")
    state = step(config, State.empty(), plain, plain).state
    left, right = (step(config, state, grads, grads) for grads in (plain, forms))
    assert left.state.memory.tobytes() == right.state.memory.tobytes()
