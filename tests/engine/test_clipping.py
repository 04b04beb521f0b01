"""Clipping, by the global norm and by value, also for gradients whose square leaves the range of a float."""

from typing import Any

import numpy as np
import pytest

from optim_engine import Config, NonFinite, State, step

PLAIN = {"hyperparameters": {"lr": 1.0}, "groups": []}


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


def test_gradients_of_zero_are_not_clipped() -> None:
    config = Config.parse("sgd", **PLAIN, clip={"global_norm": 0.1})
    metrics = step(config, State.empty(), {"x": np.ones(3)}, {"x": np.zeros(3)}).metrics
    assert (metrics.grad_norm, metrics.update_norm, metrics.clip_scale) == (0, 0, 1)


def test_clipping_by_value_limits_each_element() -> None:
    config = Config.parse("sgd", **PLAIN, clip={"value": 0.5})
    outcome = step(config, State.empty(), {"x": np.zeros(4)}, {"x": np.array([-9, -0.5, 0.25, 9])})
    assert outcome.params["x"].tolist() == [0.5, 0.5, -0.25, -0.5]
    assert outcome.metrics.clip_scale == 1


@pytest.mark.parametrize("clip", [{"global_norm": 1.0}, {"value": 1.0}])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_nan_is_refused_before_clipping(clip: dict[str, float], value: float) -> None:
    grads = {"a": np.ones(3, np.float32), "b": np.array([1, value, 1], np.float32)}
    with pytest.raises(NonFinite, match="tensor 'b'"):
        step(Config.parse("sgd", clip=clip), State.empty(), grads, grads)


def test_clipping_comes_before_decay_and_maximize() -> None:
    config = Config.parse(
        "sgd",
        hyperparameters={"lr": 1, "weight_decay": 0.5, "maximize": True},
        clip={"global_norm": 1.0},
        groups=[],
    )
    after = step(config, State.empty(), {"x": np.array([8.0])}, {"x": np.array([100.0])}).params["x"]
    assert after[0] == pytest.approx(8 - (-1 + 0.5 * 8), rel=1e-6)
