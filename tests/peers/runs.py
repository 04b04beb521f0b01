"""The same 1,000 gradients for everyone, and how near to each other the parameters must be after them."""

from collections.abc import Callable, Iterator, Mapping
from functools import cache

import numpy as np

from optim_engine import Config, State, step
from optim_engine.arrays import Array

STEPS = 1000
SHAPES = {"conv": (4, 3, 2, 2), "dense.weight": (8, 5), "dense.bias": (5,), "gain": ()}
SIZE = sum(int(np.prod(shape)) for shape in SHAPES.values())
TOLERANCE = {np.dtype(np.float64): 1e-12, np.dtype(np.float32): 1e-5}


@cache
def _noise() -> Array:
    return np.random.default_rng(0).standard_normal((1 + STEPS, SIZE))


def _tensors(row: Array, dtype: type[np.floating]) -> dict[str, Array]:
    ends = np.cumsum([int(np.prod(shape)) for shape in SHAPES.values()])
    parts = np.split(row.astype(dtype), ends[:-1])
    return {name: part.reshape(shape) for (name, shape), part in zip(SHAPES.items(), parts, strict=True)}


Shaped = Callable[[Array], Array]
"""An array in a shape that a rule takes."""


def initial(dtype: type[np.floating], shaped: Shaped = np.asarray) -> dict[str, Array]:
    return {name: shaped(array) for name, array in _tensors(_noise()[0], dtype).items()}


def gradients(dtype: type[np.floating], shaped: Shaped = np.asarray) -> Iterator[dict[str, Array]]:
    for row in _noise()[1:]:
        yield {name: shaped(array) for name, array in _tensors(row, dtype).items()}


def engine(
    config: Config, dtype: type[np.floating], shaped: Shaped = np.asarray
) -> tuple[dict[str, Array], State, list[float]]:
    """Return the parameters and the state after all steps, and the learning rate of each."""
    params, state, rates = initial(dtype, shaped), State.empty(), []
    for grads in gradients(dtype, shaped):
        outcome = step(config, state, params, grads)
        params, state = outcome.params, outcome.state
        rates.append(outcome.metrics.lr)
    return params, state, rates


def assert_near(ours: Mapping[str, Array], theirs: Mapping[str, Array], tolerance: float | None = None) -> None:
    """Check that they are within 1e-12 (float64) or 1e-5 (float32) of the largest element, or as near as said."""
    assert ours.keys() == theirs.keys()
    for name, expected in theirs.items():
        assert ours[name].dtype == expected.dtype
        apart, largest = float(np.abs(ours[name] - expected).max()), float(np.abs(expected).max())
        assert apart <= (tolerance or TOLERANCE[expected.dtype]) * largest, (name, apart, largest)
