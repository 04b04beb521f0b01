"""The outcome of a step: its metrics, and the order of its parameters."""

import numpy as np
import pytest

from optim_engine import Config, Metrics, State, step


def test_the_metrics_are_norms_before_and_after_clipping() -> None:
    config = Config.parse("sgd", hyperparameters={"lr": 2.0}, clip={"global_norm": 2.5})
    metrics = step(config, State.empty(), {"x": np.zeros(2)}, {"x": np.array([3.0, 4.0])}).metrics
    expected = Metrics(lr=2.0, grad_norm=5.0, update_norm=5.0, param_norm=5.0, clip_scale=0.5)
    assert vars(metrics) == pytest.approx(vars(expected), rel=1e-6)


@pytest.mark.parametrize("names", [("b", "a"), ("a", "b")])
def test_the_parameters_have_the_order_of_the_gradients(names: tuple[str, ...]) -> None:
    grads = {name: np.ones(2, np.float32) for name in names}
    assert tuple(step(Config.parse("adam"), State.empty(), grads, grads).params) == names
