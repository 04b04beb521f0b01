"""Adam: its moments are averages, corrected by each tensor's own count, and AMSGrad's maximum."""

import numpy as np
import pytest

from optim_engine import Average, Config, State, step
from optim_engine.machine import NUMPY, Machine, fastest

KERNELS = {NUMPY, fastest()}


def test_bias_correction_uses_the_tensors_own_count() -> None:
    """At its first update, Adam's m̂ / √v̂ is the sign of the gradient, whatever the session's step."""
    config = Config.parse("adam", hyperparameters={"lr": 0.5, "eps": 0})
    one = np.ones(1)
    state = State.empty()
    for _ in range(1000):
        state = step(config, state, {"early": one}, {"early": one}).state
    assert step(config, state, {"late": one}, {"late": -3 * one}).params["late"] == pytest.approx(1.5)


def test_the_maximum_of_zeros_is_the_positive_one() -> None:
    config = Config.parse("adam", hyperparameters={"amsgrad": True})
    zeros = {"x": np.zeros(100, np.float32)}
    first = step(config, State.empty(), zeros, zeros).state
    state = State(first.t, first.layout, first.counts, first.memory.copy())
    state.array("x", "v_max")[:] = -0.0
    for kernel in KERNELS:
        after = step(config, state, zeros, zeros, machine=Machine(kernel)).state
        assert not np.signbit(after.array("x", "v_max")).any()


def test_the_moments_of_adam_are_weighted_averages() -> None:
    config = Config.parse("adam", hyperparameters={"betas": [0.8, 0.95]})
    m, v = Average.of_shape((5,), 0.8), Average.of_shape((5,), 0.95)
    state, params = State.empty(), {"x": np.zeros(5)}
    for g in np.random.default_rng(0).standard_normal((20, 5)):
        m, v = m.advance(g), v.advance(g * g)
        state = step(config, state, params, {"x": g}).state
        np.testing.assert_array_equal(state.array("x", "m"), m.s)
        np.testing.assert_array_equal(state.array("x", "v"), v.s)
