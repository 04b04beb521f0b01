"""Sums of squares, against their definition on plain floats, to the bit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optim_engine import Config, State, step, sums
from optim_engine.arrays import BLOCK, CHUNK, Array
from optim_engine.machine import Machine
from optim_engine.norms import square_sum
from tests import oracle
from tests.engine.cases import each_machine
from tests.examples import examples

SMALL = [0, 1, 2, 8, 9, 10, 17, 127, 128, 129, 256, 385, 1000, 32_767]
LARGE = [32_768, 32_769, 33_792, 49_151, 65_536, BLOCK - 1, BLOCK, BLOCK + 1025]
each_float = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def numbers(size: int, dtype: type[Any], scale: float = 1.0, seed: int = 0) -> Array:
    """Return numbers of many magnitudes, so that a sum shows its order."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(size) * 10.0 ** rng.integers(-3, 3, size) * scale).astype(dtype)


def defined(x: Array) -> float:
    return oracle.square_sum(x.astype(np.float64).tolist(), single=x.dtype != np.float64)


@each_float
@pytest.mark.parametrize("size", [*SMALL, *LARGE, CHUNK + BLOCK + 5])
def test_a_tensors_sum_is_the_defined_one_to_the_bit(size: int, dtype: type[Any]) -> None:
    x = numbers(size, dtype)
    assert square_sum(x) == defined(x)


@each_machine
@each_float
@pytest.mark.parametrize("size", [1, 9, 300, 33_000, BLOCK + 1025])
def test_each_kernel_finds_the_defined_norms(machine: Machine, dtype: type[Any], size: int) -> None:
    θ, g = numbers(size, dtype, seed=1), numbers(size, dtype)
    outcome = step(Config.parse("adamw"), State.empty(), {"x": θ}, {"x": g}, machine=machine)
    after = outcome.params["x"]
    found = outcome.metrics.grad_norm, outcome.metrics.update_norm, outcome.metrics.param_norm
    assert found == tuple(np.sqrt(defined(x)) for x in (g, after - θ, after))


@each_machine
@pytest.mark.parametrize("scale", [0, 1e-38, 1e-25, 1e-16, 1e17, 1e32])
@pytest.mark.parametrize("size", [5, 300, 40_000])
def test_squares_beyond_float32_are_summed_in_float64(machine: Machine, scale: float, size: int) -> None:
    g = numbers(size, np.float32, scale)
    config = Config.parse("adam", clip={"global_norm": 1.0}, groups=[])
    outcome = step(config, State.empty(), {"x": g, "y": g}, {"x": g, "y": g}, machine=machine)
    assert outcome.metrics.grad_norm == np.sqrt(2 * defined(g))
    after = outcome.params["x"]
    assert outcome.metrics.param_norm == np.sqrt(2 * defined(after))
    assert outcome.metrics.update_norm == np.sqrt(2 * defined(after - g))


@each_machine
@examples(quick=20, whole=300)
@given(st.lists(st.sampled_from(SMALL + LARGE[:2]), min_size=1, max_size=8), st.data())
@pytest.mark.long
def test_tensors_are_added_in_the_order_of_their_names(machine: Machine, sizes: list[int], data: st.DataObject) -> None:
    names = data.draw(st.lists(st.text("aéz\U0001f600￿", min_size=1), min_size=9, max_size=9, unique=True))
    grads = {
        name: numbers(size, np.float32, 10.0**i, i) for i, (name, size) in enumerate(zip(names, sizes, strict=False))
    }
    outcome = step(Config.parse("adamw"), State.empty(), grads, grads, machine=machine)
    total = 0.0
    for name in sorted(grads, key=str.encode):
        total += defined(grads[name])
    assert outcome.metrics.grad_norm == np.sqrt(total)


def test_numpy_adds_rows_in_order_and_another_order_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    x = numbers(20_000, np.float32)
    assert sums.adds_as_defined()
    monkeypatch.setattr(sums, "adds_as_defined", lambda: False)
    assert square_sum(x) == defined(x)
    monkeypatch.undo()
    sums.adds_as_defined.cache_clear()
    monkeypatch.setattr(sums, "_row", lambda x: x.sum())
    assert not sums.adds_as_defined()
    monkeypatch.undo()
    sums.adds_as_defined.cache_clear()
