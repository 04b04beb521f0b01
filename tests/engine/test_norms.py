"""Norms and clipping, also where a square leaves the range of a float."""

import math
from typing import Any

import numpy as np
import pytest

from optim_engine import Config, State, arrays, step
from optim_engine.norms import norm
from tests import oracle
from tests.engine.cases import each_dtype, tensors

PLAIN = {"hyperparameters": {"lr": 1.0}, "groups": []}


@each_dtype
def test_the_norms_of_a_step_include_all_its_tensors(dtype: type[Any]) -> None:
    params, grads = tensors(0, dtype), tensors(1, dtype)
    metrics = step(Config.parse("sgd", **PLAIN), State.empty(), params, grads).metrics
    g = [x for array in grads.values() for x in array.reshape(-1).tolist()]
    θ = [x for array in params.values() for x in array.reshape(-1).tolist()]
    assert metrics.grad_norm == pytest.approx(oracle.norm(g), rel=1e-6)
    assert metrics.update_norm == pytest.approx(oracle.norm(g), rel=1e-6)
    assert metrics.param_norm == pytest.approx(oracle.norm(x - y for x, y in zip(θ, g, strict=True)), rel=1e-6)


def test_grad_norm_is_before_clipping_and_update_norm_after() -> None:
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


@pytest.mark.parametrize("size", [1e30, 1e-25])
def test_norms_of_parameters_out_of_range_are_right(size: float) -> None:
    params, grads = np.full(4, 2 * size, np.float32), np.full(4, size, np.float32)
    metrics = step(Config.parse("sgd", **PLAIN), State.empty(), {"x": params}, {"x": grads}).metrics
    assert metrics.param_norm == pytest.approx(2 * size, rel=1e-6, abs=0)
    assert metrics.update_norm == pytest.approx(2 * size, rel=1e-6, abs=0)


def test_a_float32_norm_of_a_million_elements_is_right() -> None:
    x = tensors(0, np.float32, {"x": (1_000_000,)})["x"]
    assert len(x) > arrays.BLOCK
    assert norm([x]) == pytest.approx(float(np.linalg.norm(x.astype(np.float64))), rel=1e-7)
