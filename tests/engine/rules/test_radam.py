"""RAdam: the second moment is used from the sixth update on."""

import numpy as np
import pytest

from optim_engine import Config, State, step


def test_the_second_moment_is_used_from_the_sixth_update() -> None:
    """Constant gradients of 4: m̂ is 4 and √v̂ is 4: an update is 4 at first, and then the rectification."""
    config = Config.parse("radam", hyperparameters={"lr": 1.0, "eps": 0})
    params, state, moved = {"x": np.zeros(1)}, State.empty(), []
    for _ in range(7):
        outcome = step(config, state, params, {"x": np.full(1, 4.0)})
        moved.append(float((params["x"] - outcome.params["x"])[0]))
        params, state = outcome.params, outcome.state
    assert moved[:5] == pytest.approx([4.0] * 5)
    assert 0 < moved[5] < moved[6] < 0.1
