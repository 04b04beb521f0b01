"""Against optax where it is the same rule, and where it is not: what the difference is.

In float64. In float32 the same equations, rounded in another order, drift apart by more than 1e-5 in 1,000 steps:
torch, and so we, multiply by the rounded 1 − γλ, which errs the same way at every step.
"""

from math import sqrt
from typing import Any

import jax
import numpy as np
import optax
import optax.contrib
import pytest

from optim_engine import Config
from optim_engine.arrays import Array
from tests.peers.runs import STEPS, assert_near, engine, gradients, initial

SAME: dict[str, tuple[str, dict[str, Any], optax.GradientTransformation]] = {
    "adam": ("adam", {"lr": 0.01}, optax.adam(0.01)),
    "adam_short_memory": ("adam", {"betas": [0.5, 0.7], "eps": 1e-3}, optax.adam(1e-3, b1=0.5, b2=0.7, eps=1e-3)),
    "adamw": ("adamw", {"weight_decay": 0.1}, optax.adamw(1e-3, weight_decay=0.1)),
    "sgd": ("sgd", {"lr": 0.1}, optax.sgd(0.1)),
    "sgd_momentum": ("sgd", {"momentum": 0.9}, optax.sgd(1e-3, momentum=0.9)),
    "sgd_nesterov": ("sgd", {"momentum": 0.9, "nesterov": True}, optax.sgd(1e-3, momentum=0.9, nesterov=True)),
    "rmsprop": ("rmsprop", {}, optax.rmsprop(1e-2, decay=0.99, eps_in_sqrt=False)),
    "rmsprop_momentum": (
        "rmsprop",
        {"momentum": 0.9},
        optax.rmsprop(1e-2, decay=0.99, eps_in_sqrt=False, momentum=0.9),
    ),
    "yogi": ("yogi", {"lr": 0.01}, optax.yogi(0.01)),
    "yogi_short_memory": ("yogi", {"betas": [0.5, 0.7], "eps": 0.1}, optax.yogi(1e-3, b1=0.5, b2=0.7, eps=0.1)),
    "adabelief": ("adabelief", {"lr": 0.01, "eps_root": 1e-3}, optax.adabelief(0.01, eps_root=1e-3)),
    "adabelief_nesterov": (
        "adabelief",
        {"nesterov": True, "betas": [0.8, 0.9], "eps": 1e-3},
        optax.adabelief(1e-3, b1=0.8, b2=0.9, eps=1e-3, nesterov=True),
    ),
    "ademamix": ("ademamix", {"lr": 0.01}, optax.contrib.ademamix(0.01)),
    "ademamix_all": (
        "ademamix",
        {"betas": [0.8, 0.9, 0.95], "alpha": 3, "eps_root": 1e-3, "weight_decay": 0.1},
        optax.contrib.ademamix(1e-3, b1=0.8, b2=0.9, b3=0.95, alpha=3, eps_root=1e-3, weight_decay=0.1),
    ),
    "adan": ("adan", {"lr": 0.01}, optax.adan(0.01)),
    "adan_all": (
        "adan",
        {"betas": [0.8, 0.9, 0.95], "eps": 1e-3, "weight_decay": 0.1},
        optax.adan(1e-3, b1=0.8, b2=0.9, b3=0.95, eps=1e-3, weight_decay=0.1),
    ),
    "lamb": ("lamb", {"lr": 0.01}, optax.lamb(0.01)),
    "lamb_all": (
        "lamb",
        {"betas": [0.8, 0.9], "eps": 1e-3, "eps_root": 1e-3, "weight_decay": 0.1},
        optax.lamb(1e-3, b1=0.8, b2=0.9, eps=1e-3, eps_root=1e-3, weight_decay=0.1),
    ),
    "lars": ("lars", {"lr": 0.1}, optax.lars(0.1)),
    "lars_nesterov": (
        "lars",
        {"lr": 0.1, "nesterov": True, "weight_decay": 0.1, "eps": 0.1, "momentum": 0.5, "trust_coefficient": 0.01},
        optax.lars(0.1, weight_decay=0.1, trust_coefficient=0.01, eps=0.1, momentum=0.5, nesterov=True),
    ),
}


def peer(transformation: optax.GradientTransformation, steps: int = STEPS) -> dict[str, Array]:
    """Return the parameters of optax after that many steps."""

    @jax.jit
    def update(params: Any, state: Any, grads: Any) -> Any:
        updates, state = transformation.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    params: Any = initial(np.float64)
    state = transformation.init(params)
    for grads, _ in zip(gradients(np.float64), range(steps), strict=False):
        params, state = update(params, state, grads)
    return {name: np.asarray(array) for name, array in params.items()}


@pytest.mark.parametrize(("optimizer", "hyperparameters", "transformation"), SAME.values(), ids=SAME)
def test_parameters_agree_after_1000_steps(
    optimizer: str, hyperparameters: dict[str, Any], transformation: optax.GradientTransformation
) -> None:
    config = Config.parse(optimizer, hyperparameters=hyperparameters, groups=[])
    assert_near(engine(config, np.float64)[0], peer(transformation))


def test_amsgrad_of_optax_takes_the_maximum_after_correction() -> None:
    """torch, and so we, correct the maximum of the raw v."""
    config = Config.parse("adam", hyperparameters={"lr": 0.1, "amsgrad": True, "betas": [0.9, 0.9]}, groups=[])
    gains = [float(grads["gain"]) for grads in gradients(np.float64)]
    start = float(initial(np.float64)["gain"])
    theirs, raw = (amsgrad(start, gains[:8], corrected_first=first) for first in (True, False))
    assert abs(theirs - raw) > 1e-3
    assert peer(optax.amsgrad(0.1, b2=0.9), steps=8)["gain"] == pytest.approx(theirs, rel=1e-12)
    ours = engine(config, np.float64)[0]["gain"]
    assert ours == pytest.approx(amsgrad(start, gains, corrected_first=False), rel=1e-12)


def amsgrad(θ: float, gs: list[float], *, corrected_first: bool) -> float:
    """Run AMSGrad on plain floats, in both of its forms; lr 0.1, both betas 0.9."""
    β, m, v, largest = 0.9, 0.0, 0.0, 0.0
    for t, g in enumerate(gs, start=1):
        m, v = β * m + (1 - β) * g, β * v + (1 - β) * g * g
        largest = max(largest, v / (1 - β**t) if corrected_first else v)
        v_hat = largest if corrected_first else largest / (1 - β**t)
        θ -= 0.1 * m / (1 - β**t) / (sqrt(v_hat) + 1e-8)
    return θ


def test_defaults_of_rmsprop_and_adamw_differ() -> None:
    """optax has α = 0.9 and ε within the root, and a decay of 1e-4."""
    for config, transformation in (
        (Config.parse("rmsprop", hyperparameters={"lr": 0.1}, groups=[]), optax.rmsprop(0.1)),
        (Config.parse("adamw", groups=[], hyperparameters={"lr": 0.1}), optax.adamw(0.1)),
    ):
        ours, theirs = engine(config, np.float64)[0], peer(transformation)
        assert float(np.abs(ours["gain"] - theirs["gain"])) > 1e-3
