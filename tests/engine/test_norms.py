"""Norms and clipping, also where a square leaves the range of a float."""

import math
from typing import Any

import numpy as np
import pytest

from optim_engine import Config, NonFinite, State, arrays, step
from optim_engine.machine import Machine
from optim_engine.norms import norm
from tests import oracle
from tests.engine.cases import each_dtype, each_machine, tensors

PLAIN = {"hyperparameters": {"lr": 1.0}, "groups": []}


@each_dtype
def test_the_norms_of_a_step_are_those_of_all_its_tensors_together(dtype: type[Any]) -> None:
    params, grads = tensors(0, dtype), tensors(1, dtype)
    metrics = step(Config.parse("sgd", **PLAIN), State.empty(), params, grads).metrics
    g = [x for array in grads.values() for x in array.reshape(-1).tolist()]
    θ = [x for array in params.values() for x in array.reshape(-1).tolist()]
    assert metrics.grad_norm == pytest.approx(oracle.norm(g), rel=1e-6)
    assert metrics.update_norm == pytest.approx(oracle.norm(g), rel=1e-6)
    assert metrics.param_norm == pytest.approx(oracle.norm(x - y for x, y in zip(θ, g, strict=True)), rel=1e-6)


def test_the_norm_is_of_the_gradients_as_they_came_and_the_update_of_those_after_clipping() -> None:
    config = Config.parse("sgd", **PLAIN, clip={"global_norm": 1.0})
    metrics = step(config, State.empty(), {"x": np.zeros(2)}, {"x": np.array([3.0, 4.0])}).metrics
    assert (metrics.grad_norm, metrics.clip_scale) == (5.0, 1 / (5 + 1e-6))
    assert metrics.update_norm == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize(
    ("dtype", "size"),
    [(np.float32, 1e30), (np.float32, 1e38), (np.float32, 1e-25), (np.float64, 1e200), (np.float64, 1e-200)],
)
@pytest.mark.parametrize("count", [2, 1000])
def test_a_norm_whose_square_is_out_of_range_is_right(dtype: type[Any], size: float, count: int) -> None:
    x = np.full(count, size, dtype)
    assert norm([x]) == pytest.approx(math.sqrt(count) * float(x[0]), rel=1e-6, abs=0)
    assert norm([x, np.zeros(3, np.float32), x]) == pytest.approx(math.sqrt(2 * count) * float(x[0]), rel=1e-6, abs=0)


@each_machine
@pytest.mark.parametrize("size", [0, 1e-25, 1e30])
def test_adam_finds_the_norm_of_such_gradients_on_its_way(machine: Machine, size: float) -> None:
    """Among others, in another part of the tensor, whose squares are in range."""
    x = np.full(20_000, size, np.float32)
    x[:5000] = 1e-16
    outcome = step(Config.parse("adamw"), State.empty(), {"x": x}, {"x": x}, machine=machine)
    after, metrics = outcome.params["x"], outcome.metrics
    expected = tuple(oracle.norm(vector.tolist()) for vector in (x, after - x, after))
    assert (metrics.grad_norm, metrics.update_norm, metrics.param_norm) == pytest.approx(expected, rel=1e-6, abs=0)


@pytest.mark.parametrize("size", [1e30, 1e-25])
def test_so_are_the_norms_of_parameters_and_of_their_change(size: float) -> None:
    params, grads = np.full(4, 2 * size, np.float32), np.full(4, size, np.float32)
    metrics = step(Config.parse("sgd", **PLAIN), State.empty(), {"x": params}, {"x": grads}).metrics
    assert metrics.param_norm == pytest.approx(2 * size, rel=1e-6, abs=0)
    assert metrics.update_norm == pytest.approx(2 * size, rel=1e-6, abs=0)


@pytest.mark.parametrize(("dtype", "size"), [(np.float32, 1e30), (np.float64, 1e200)])
def test_huge_gradients_are_clipped_to_the_norm(dtype: type[Any], size: float) -> None:
    config = Config.parse("sgd", **PLAIN, clip={"global_norm": 10.0})
    grads = {"x": np.array([3 * size, 4 * size], dtype)}
    outcome = step(config, State.empty(), {"x": np.zeros(2, dtype)}, grads)
    np.testing.assert_allclose(outcome.params["x"], [-6, -8], rtol=1e-6)
    assert outcome.metrics.grad_norm == pytest.approx(5 * size, rel=1e-6)


def test_gradients_below_the_norm_are_left_to_the_bit() -> None:
    grads = {"x": np.array([0.3, 0.4])}
    clipped, plain = (
        step(Config.parse("sgd", **PLAIN, clip=clip), State.empty(), {"x": np.zeros(2)}, grads)
        for clip in ({"global_norm": 0.6}, None)
    )
    assert clipped.metrics == plain.metrics
    assert clipped.params["x"].tobytes() == plain.params["x"].tobytes()


def test_gradients_of_nothing_but_zeros_have_no_norm_and_are_not_clipped() -> None:
    config = Config.parse("sgd", **PLAIN, clip={"global_norm": 0.1})
    metrics = step(config, State.empty(), {"x": np.ones(3)}, {"x": np.zeros(3)}).metrics
    assert (metrics.grad_norm, metrics.update_norm, metrics.clip_scale) == (0, 0, 1)


def test_clipping_by_value_holds_each_element_and_says_nothing_of_a_scale() -> None:
    config = Config.parse("sgd", **PLAIN, clip={"value": 0.5})
    outcome = step(config, State.empty(), {"x": np.zeros(4)}, {"x": np.array([-9, -0.5, 0.25, 9])})
    assert outcome.params["x"].tolist() == [0.5, 0.5, -0.25, -0.5]
    assert outcome.metrics.clip_scale == 1


@pytest.mark.parametrize("clip", [{"global_norm": 1.0}, {"value": 1.0}])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_nan_is_refused_before_clipping_can_spread_or_hide_it(clip: dict[str, float], value: float) -> None:
    grads = {"a": np.ones(3, np.float32), "b": np.array([1, value, 1], np.float32)}
    with pytest.raises(NonFinite, match="tensor 'b'"):
        step(Config.parse("sgd", clip=clip), State.empty(), grads, grads)


def test_clipping_goes_before_the_decay_and_before_the_turn_to_climb() -> None:
    config = Config.parse(
        "sgd",
        hyperparameters={"lr": 1, "weight_decay": 0.5, "maximize": True},
        clip={"global_norm": 1.0},
        groups=[],
    )
    after = step(config, State.empty(), {"x": np.array([8.0])}, {"x": np.array([100.0])}).params["x"]
    assert after[0] == pytest.approx(8 - (-1 + 0.5 * 8), rel=1e-6)


def test_a_float32_norm_of_many_elements_is_right_to_seven_digits() -> None:
    x = tensors(0, np.float32, {"x": (1_000_000,)})["x"]
    assert len(x) > arrays.BLOCK
    assert norm([x]) == pytest.approx(float(np.linalg.norm(x.astype(np.float64))), rel=1e-7)
