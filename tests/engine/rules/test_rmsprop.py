"""RMSProp: the variance of its centered form."""

import numpy as np

from optim_engine import State, step
from tests.engine.cases import Case


def test_a_variance_made_negative_by_rounding_is_zero() -> None:
    """The v − m² of constant gradients is 0 except for rounding."""
    config = Case("", "rmsprop", {"centered": True, "alpha": 0.5}).config
    params, state = {"x": np.zeros(50, np.float32)}, State.empty()
    for _ in range(60):
        outcome = step(config, state, params, {"x": np.linspace(0.1, 3, 50, dtype=np.float32)})
        params, state = outcome.params, outcome.state
    v, m = state.array("x", "v"), state.array("x", "m")
    assert (v - m * m < 0).any()
    assert np.isfinite(params["x"]).all()
