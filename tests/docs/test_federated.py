"""The outer optimizers of docs/workers.md against their papers, of which the oracles here are written."""

import json
import re
import runpy
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from optim_engine import Config, State, step
from optim_engine.arrays import Array
from tests.docs.blocks import ROOT, read, rows, section

ROUNDS, WORKERS = 20, 4
START = 1e-6
"""The first m of `yogi`, where the paper has 0."""

Models = Sequence[Array]
"""The parameters of the workers after their local steps."""
Outer = Callable[[Array, Models, Array], Any]
"""A step of the server: from its parameters, the workers' and the numbers of their examples to the next parameters."""


def share(n: Array) -> Any:
    return n / n.sum()


def fed_avg() -> Outer:
    """Return McMahan et al. 2017, algorithm 1: w ← Σ nₖ/n · wᵏ."""
    return lambda w, models, n: np.add.reduce([s * each for s, each in zip(share(n), models, strict=True)])


def fed_avg_m(β: float = 0.9) -> Outer:
    """Return Hsu et al. 2019, section 4.3: v ← β·v + Δw; w ← w − v, with Δw = Σ nₖ/n · (w − wᵏ)."""
    v: Any = 0.0

    def next_of(w: Array, models: Models, n: Array) -> Any:
        nonlocal v
        v = β * v + np.add.reduce([s * (w - each) for s, each in zip(share(n), models, strict=True)])
        return w - v

    return next_of


def diloco(γ: float = 0.7, μ: float = 0.9) -> Outer:
    """Return Douillard et al. 2023, algorithm 1, with Nesterov's momentum in Sutskever's form.

    There v ← μ·v − γ·Δ(θ + μ·v); θ ← θ + v. The workers begin at θ + μ·v, so these are the server's parameters.
    """
    v: Any = 0.0

    def next_of(ahead: Array, models: Models, _: Array) -> Any:
        nonlocal v
        θ = ahead - μ * v
        v = μ * v - γ * np.add.reduce([ahead - each for each in models]) / len(models)
        return θ + v + μ * v

    return next_of


def fed_opt(second: Callable[[Any, Array], Any], v: Any, η: float, β1: float, m: Any = 0.0) -> Outer:
    """Return Reddi et al. 2021, algorithm 2: m ← β₁·m + (1−β₁)·Δ; x ← x + η·m/(√v + τ), with Δ = mean(xᵢ − x)."""
    τ = 1e-3

    def next_of(x: Array, models: Models, _: Array) -> Any:
        nonlocal m, v
        Δ = np.add.reduce([each - x for each in models]) / len(models)
        m, v = β1 * m + (1 - β1) * Δ, second(v, Δ**2)
        return x + η * m / (np.sqrt(v) + τ)

    return next_of


def adam(v: Any, square: Array) -> Any:
    return 0.99 * v + 0.01 * square


def yogi(v: Any, square: Array) -> Any:
    return v - 0.01 * square * np.sign(v - square)


PAPERS: dict[str, Outer] = {
    "federated averaging": fed_avg(),
    "FedAvgM": fed_avg_m(),
    "DiLoCo": diloco(),
    "FedAdam": fed_opt(adam, 0, 0.01, 0.9),
    "FedYogi": fed_opt(yogi, 1e-6, 0.01, 0.9, m=-START),  # of the pseudo-gradient, whose sign is the other one
    "FedAdagrad": fed_opt(np.add, 1e-6, 0.1, 0.0),
}
WEIGHTED = ("federated averaging", "FedAvgM")
"""The methods whose papers weight a worker by its examples."""


def recipes() -> dict[str, Config]:
    """Return the settings of the session by the method of the table."""
    found = {}
    for method, optimizer, settings in rows(section(read("docs/workers.md"), "DiLoCo and federated averaging")):
        values = {name: json.loads(value) for name, value in re.findall(r"`(\w+)` (\[.*?\]|[^,]+)", settings)}
        found[method.partition(" (")[0]] = Config.parse(optimizer.strip("`"), hyperparameters=values, groups=[])
    return found


def test_every_method_has_an_oracle() -> None:
    assert recipes().keys() == PAPERS.keys()


def test_the_example_has_the_settings_of_the_table() -> None:
    named = {"fedavg": "federated averaging", **{name.lower(): name for name in PAPERS}}
    methods = runpy.run_path(str(ROOT / "examples" / "federated.py"))["METHODS"]
    found = {named[name]: dict(settings) for name, settings in methods.items() if name in named}
    assert recipes() == {
        name: Config.parse(each.pop("optimizer"), hyperparameters=each, groups=[]) for name, each in found.items()
    }


@pytest.mark.parametrize("method", PAPERS)
def test_the_settings_are_those_of_the_paper(method: str) -> None:
    config = recipes()[method]
    draw, scale = np.random.default_rng(0), np.logspace(-6, 0, 50)  # also pseudo-gradients that are small beside τ
    w, state = scale * draw.normal(size=50), State.empty()
    goals = scale * draw.normal(size=(WORKERS, 50))
    n = np.array([7.0, 1.0, 2.0, 5.0]) if method in WEIGHTED else np.ones(WORKERS)
    for _ in range(ROUNDS):
        models = [w + 0.1 * (goal - w) for goal in goals]
        gradient = np.add.reduce([s * (w - each) for s, each in zip(share(n), models, strict=True)])
        answer = step(config, state, {"w": w}, {"w": gradient})
        expected = PAPERS[method](w, models, n)
        w, state = answer.params["w"], answer.state
        np.testing.assert_allclose(w, expected, rtol=1e-9, atol=1e-13)
