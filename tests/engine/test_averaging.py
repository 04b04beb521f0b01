"""The average of the parameters that a session keeps, against one on float64 arrays."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from optim_engine import Config, State, step
from optim_engine.arrays import CHUNK, Arrays
from optim_engine.averaging import Averaging
from optim_engine.held_views import viewed
from optim_engine.machine import ALONE, NUMPY, Machine, fastest
from tests.engine.cases import DTYPES, same_bits, tensors
from tests.engine.reported import Reported

SHAPES = {"large": (CHUNK + 5,), "w": (3, 4), "bias": (4,), "none": (0,)}
CONFIG = Config.parse("adamw", hold_params=True, average={"decay": 0.75})


def run(dtype: Any, machine: Machine = ALONE, in_place: bool = False) -> tuple[State, list[Arrays]]:
    """Return the state after three steps, and the parameters after each."""
    state, seen = State.empty(), list[Arrays]()
    for t in range(1, 4):
        sent = tensors(0, dtype, SHAPES) if t == 1 else {}
        reported = Reported()
        outcome = step(
            CONFIG, state, sent, tensors(t, dtype, SHAPES), machine=machine, in_place=in_place, filled=reported
        )
        reported.check(outcome.state.memory)
        state = outcome.state
        seen.append({name: array.copy() for name, array in outcome.params.items()})
    return state, seen


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_average_is_of_the_parameters_as_held(dtype: str) -> None:
    state, seen = run(DTYPES[dtype])
    found = viewed(CONFIG, state, "average")
    for name, shape in SHAPES.items():
        s = np.zeros(shape)
        for params in seen:
            s = 0.75 * s + 0.25 * params[name].astype(np.float64)
        expected = s / (1 - 0.75**3)
        assert found[name].dtype == DTYPES[dtype]
        apart = {"float64": 1e-15, "float32": 5e-7, "float16": 1e-3, "bfloat16": 8e-3}[dtype]
        np.testing.assert_allclose(found[name].astype(np.float64), expected, rtol=apart, atol=apart)


def test_kernels_threads_and_steps_in_place_give_the_same_average() -> None:
    expected, _ = run(np.float32)
    with ThreadPoolExecutor(3) as pool:
        for kernel in (NUMPY, fastest()):
            for in_place in (False, True):
                state, _ = run(np.float32, Machine(kernel, 4, pool), in_place)
                assert same_bits({"memory": state.memory}, {"memory": expected.memory})


def test_the_average_of_a_constant_is_the_constant() -> None:
    averaging, θ, s = Averaging(decay=0.9999), np.float32([0.1, 3.0, -7e-5]), np.zeros(3, np.float32)
    for _ in range(3000):
        averaging.follow(s, θ, s)
    np.testing.assert_allclose(averaging.value(s, 3000), θ, rtol=3e-6)


def test_an_average_of_both_infinities_is_one_nan() -> None:
    s = np.float32([np.inf, 1])
    with np.errstate(invalid="ignore"):
        Averaging(decay=0.5).follow(s, np.float32([-np.inf, 3]), s)
    assert s.view(np.uint32)[0] == 0x7FC00000
    assert s[1] == 2


def test_sessions_without_an_average_keep_none() -> None:
    state = step(Config.parse("adamw", hold_params=True), State.empty(), {"w": np.ones(2)}, {"w": np.ones(2)}).state
    assert state.entries["w"].slots == ("m", "v", "params")
