"""NaN with any bits, infinities, signed zeros and subnormals, to be stepped with."""

from typing import Any

import numpy as np

from optim_engine import State, step
from optim_engine.arrays import Array
from tests.engine.cases import DTYPES, Case

BITS = {2: np.uint16, 4: np.uint32, 8: np.uint64}
SIZES = {"a": 700, "b.bias": 130, "c": 33_500}


def specials(dtype: np.dtype[Any]) -> Array:
    """Return NaNs, quiet or not, with other bits set; infinities, zeros, the smallest, the largest; of both signs."""
    exponent = {"float16": 5, "bfloat16": 8, "float32": 8, "float64": 11}[dtype.name]
    fraction = 8 * dtype.itemsize - 1 - exponent
    infinite, quiet = ((1 << exponent) - 1) << fraction, 1 << (fraction - 1)
    bits = [infinite | quiet, infinite | quiet | 5, infinite | 1, infinite, infinite - 1, 0, 1, (1 << fraction) - 1]
    sign = 1 << (8 * dtype.itemsize - 1)
    return np.array([*bits, *(sign | each for each in bits)], BITS[dtype.itemsize]).view(dtype)


def mixed(seed: int, size: int, dtype: np.dtype[Any], *, finite: bool = False) -> Array:
    """Return ordinary numbers with a special one here and there."""
    rng = np.random.default_rng(seed)
    x = (rng.integers(-(1 << 20), 1 << 20, size) / (1 << 20)).astype(dtype)
    some = specials(dtype)
    with np.errstate(invalid="ignore"):
        some = some[np.isfinite(some)] if finite else some
    places = rng.integers(0, size, size // 20)
    x[places] = some[rng.integers(0, len(some), len(places))]
    return x


def seeded(case: Case, dtype: np.dtype[Any]) -> State:
    """Return a state whose moments have such values, as an uploaded one may."""
    ones = {name: case.shaped(np.ones(size, dtype)) for name, size in SIZES.items()}
    state = step(case.config, State.empty(), ones, ones).state
    state = State(state.t, state.layout, state.counts, state.memory.copy())
    for seed, (slot, _, array) in enumerate(state.arrays()):
        if slot != "params":
            array[...] = mixed(seed, array.size, array.dtype).reshape(array.shape)
    return state


def special_step(case: Case, dtype: str) -> tuple[State, dict[str, Array], dict[str, Array]]:
    """Return a state, parameters and gradients that have such values; gradients are finite."""
    kind = np.dtype(DTYPES[dtype])
    params = {name: case.shaped(mixed(100 + i, size, kind)) for i, (name, size) in enumerate(SIZES.items())}
    grads = {name: case.shaped(mixed(200 + i, size, kind, finite=True)) for i, (name, size) in enumerate(SIZES.items())}
    return seeded(case, kind), params, grads
