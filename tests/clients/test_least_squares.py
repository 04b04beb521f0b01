"""The least squares of the contract: the engine ends at its parameters, and any order of a sum gives its gradients."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

import numpy as np

from optim_engine import Config, State, step
from tests.contract import LEAST_SQUARES

Params = Mapping[str, np.ndarray[Any, Any]]


def gradients(params: Params) -> dict[str, list[Fraction]]:
    """Return the exact gradients."""
    w, b = ([Fraction(float(x)) for x in params[name]] for name in ("w", "b"))
    points = LEAST_SQUARES["points"]
    errors = [w[0] * p["x"][0] + w[1] * p["x"][1] + b[0] - p["y"] for p in points]
    sums = [sum(error * p["x"][i] for error, p in zip(errors, points, strict=True)) for i in (0, 1)]
    return {"w": [each / 4 for each in sums], "b": [sum(errors, Fraction(0)) / 4]}


def training() -> Iterator[Params]:
    """Yield the parameters before each step, and the final ones."""
    settings = LEAST_SQUARES["session"]
    others = {name: value for name, value in settings.items() if name not in ("optimizer", "hyperparameters")}
    config = Config.parse(settings["optimizer"], hyperparameters=settings["hyperparameters"], **others)
    state, params = State.empty(), {name: np.array(x, np.float32) for name, x in LEAST_SQUARES["params"].items()}
    for _ in range(LEAST_SQUARES["steps"]):
        yield params
        exact = gradients(params)
        grads = {name: np.array([float(x) for x in values], np.float32) for name, values in exact.items()}
        outcome = step(config, state, params, grads)
        state, params = outcome.state, dict(outcome.params)
    yield params


def test_the_engine_ends_at_the_final_parameters() -> None:
    *_, final = training()
    for name, said in LEAST_SQUARES["final"].items():
        assert [f"{bits:08x}" for bits in final[name].view("u4")] == said["bits"]
        assert [np.float32(x) for x in said["decimal"]] == final[name].tolist() == [*final[name]]


def test_float64_is_exact_in_every_order_of_the_sums() -> None:
    for params in training():
        for values in params.values():
            assert all(Fraction(float(x)) * 2**40 % 1 == 0 for x in values)
            assert all(abs(x) < 4 for x in values)  # so no sum exceeds 2**12: 40 + 12 bits fit float64's 53
