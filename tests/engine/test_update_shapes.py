"""Tensors of every shape and memory order: a single number, none at all, strided, transposed, of many dimensions."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from optim_engine import Config, State, step
from optim_engine.arrays import Array
from tests.engine.cases import each_dtype, tensors

ADAMW = Config.parse("adamw", hyperparameters={"lr": 0.1})


def stepped(config: Config, params: Array, grads: Array) -> Array:
    """Return the array after three steps."""
    state = State.empty()
    for _ in range(3):
        outcome = step(config, state, {"x": params}, {"x": grads})
        params, state = outcome.params["x"], outcome.state
    return params


@each_dtype
@pytest.mark.parametrize("shape", [(), (1,), (0,), (0, 10**18), (3, 0, 4), (1,) * 64, (2, 3, 4, 5)], ids=str)
def test_any_tensor_comes_back_in_its_shape_and_dtype(shape: tuple[int, ...], dtype: type[Any]) -> None:
    params = np.ones(shape, dtype)
    after = stepped(ADAMW, params, np.ones(shape, dtype))
    assert (after.shape, after.dtype) == (shape, np.dtype(dtype))
    assert np.all(after < 1)


def test_a_step_of_nothing_but_empty_tensors_is_a_step() -> None:
    empty: dict[str, Array] = {"a": np.ones((0, 3), np.float32), "b": np.ones(0, np.float64)}
    outcome = step(ADAMW, State.empty(), empty, empty)
    assert (outcome.state.t, outcome.state.counts) == (1, {"a": 1, "b": 1})
    assert (outcome.metrics.grad_norm, outcome.metrics.update_norm) == (0, 0)


@each_dtype
@pytest.mark.parametrize("size", [12, 400], ids=["packed", "big"])
def test_the_order_of_memory_does_not_matter(dtype: type[Any], size: int) -> None:
    params, grads = (tensors(seed, dtype, {"x": (size, size)})["x"] for seed in (0, 1))
    expected = stepped(ADAMW, params, grads)
    strided = np.zeros((size, 3 * size), dtype)[:, ::3]
    strided[...] = grads
    for same in (np.asfortranarray(grads), strided, np.ascontiguousarray(grads[::-1])[::-1]):
        assert not same.flags.c_contiguous
        assert stepped(ADAMW, params, same).tobytes() == expected.tobytes()
        assert stepped(ADAMW, np.asfortranarray(params), same).tobytes() == expected.tobytes()


def test_a_broadcast_gradient_counts_as_what_it_looks_like() -> None:
    broadcast = np.broadcast_to(np.float32(2), (3, 4))
    params = np.ones((3, 4), np.float32)
    assert np.array_equal(stepped(ADAMW, params, broadcast), stepped(ADAMW, params, broadcast.copy()))


@pytest.mark.parametrize(
    ("dtype", "largest"), [(np.float16, 65504.0), (ml_dtypes.bfloat16, 3.38e38)], ids=["float16", "bfloat16"]
)
def test_a_parameter_beyond_its_dtype_becomes_infinite(dtype: type[Any], largest: float) -> None:
    config = Config.parse("sgd", hyperparameters={"lr": 1})
    params, grads = np.array([largest, -largest, 1], dtype), np.array([-largest, largest, 0], dtype)
    assert stepped(config, params, grads).tolist() == [np.inf, -np.inf, 1]


def test_float16_gradients_whose_square_is_no_float16_are_no_trouble() -> None:
    """Moments are float32: 300² is beyond float16, and 1e-4² is nothing in it."""
    for g in (300.0, 60000.0, 1e-4):
        after = stepped(
            Config.parse("adam", hyperparameters={"lr": 0.25}), np.ones(2, np.float16), np.full(2, g, np.float16)
        )
        assert after.tolist() == [0.25, 0.25]


def test_gradients_whose_square_exceeds_float32_move_nothing() -> None:
    after = step(
        Config.parse("adam"), State.empty(), {"x": np.ones(1, np.float32)}, {"x": np.full(1, 1e30, np.float32)}
    )
    assert after.params["x"] == 1
    assert np.isinf(after.state.array("x", "v"))
