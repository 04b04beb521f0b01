"""SGD: momentum that begins in the middle of a run."""

import numpy as np

from optim_engine import Config, State, step


def test_momentum_switched_on_later_starts_from_zero() -> None:
    plain, heavy = (Config.parse("sgd", hyperparameters={"lr": 1, "momentum": μ}) for μ in (0, 0.5))
    x, one = {"x": np.zeros(1)}, {"x": np.ones(1)}
    state = step(plain, State.empty(), x, one).state
    first = step(heavy, state, x, one)
    second = step(heavy, first.state, x, one)
    assert (float(first.params["x"][0]), float(second.params["x"][0])) == (-1, -1.5)
