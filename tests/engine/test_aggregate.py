"""The aggregates of many workers, held against plain floats to the bit."""

import math
from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optim_engine.aggregate import Aggregate, Part, trimmed
from optim_engine.arrays import Array, compute_dtype
from tests import oracle_aggregate
from tests.engine.cases import AGGREGATES, DTYPES
from tests.examples import examples

each_kind = pytest.mark.parametrize("aggregate", AGGREGATES, ids=lambda aggregate: aggregate.kind)


def aggregated(
    aggregate: Aggregate,
    parts: Sequence[Part | None],
    size: int,
    dtype: Any,
    weights: Sequence[float] = (),
    norms: Sequence[float] = (),
) -> Array:
    chunk = aggregate.of(weights or [1.0] * len(parts), norms or [1.0] * len(parts))(size, np.dtype(dtype))
    for part in parts:
        chunk.add(part)
    out = np.full(size, 7, dtype)
    chunk.write(out)
    return out


def by_oracle(
    aggregate: Aggregate, dense: Sequence[Array], weights: Sequence[float] = (), norms: Sequence[float] = ()
) -> Array:
    dtype = compute_dtype(dense[0].dtype)
    values = oracle_aggregate.aggregate(
        aggregate.kind,
        [g.astype(np.float64).tolist() for g in dense],
        weights or [1.0] * len(dense),
        norms or [1.0] * len(dense),
        max_norm=aggregate.max_norm,
        trim=aggregate.trim,
        single=dtype == np.float32,
    )
    return np.array(values, dtype)


NUMBERS = st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0**-149, 3.0e38, -3.0e38, 0.1]) | st.floats(-10, 10, width=16)
WEIGHTS = st.sampled_from([1.0, 3.0, 0.1, 1e-300, 1e6]) | st.floats(0.01, 100)


@st.composite
def rounds(draw: st.DrawFn) -> tuple[Aggregate, list[Part | None], list[Array], list[float], list[float]]:
    """Draw an aggregate, its parts, the same parts as whole vectors, weights and norms."""
    aggregate, dtype = draw(st.sampled_from(AGGREGATES)), np.dtype(draw(st.sampled_from([*DTYPES.values()])))
    width, height = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    parts, dense = list[Part | None](), list[Array]()
    for _ in range(draw(st.integers(1, 9))):
        with np.errstate(over="ignore"):
            rows = draw(st.lists(st.integers(0, height - 1), unique=True).map(sorted))
            whole = np.array(draw(st.lists(NUMBERS, min_size=width * height, max_size=width * height))).astype(dtype)
        form = draw(st.sampled_from(["dense", "dense", "rows", "nothing"]))
        if form == "dense":
            parts.append(Part(whole))
        else:
            named = np.array(rows if form == "rows" else [], np.int64)
            table, whole = whole.reshape(height, width), np.zeros_like(whole)
            whole.reshape(height, width)[named] = table[named]
            parts.append(Part(table[named].reshape(-1), named, width) if form == "rows" else None)
        dense.append(whole)
    count = len(parts)
    weights = draw(st.lists(WEIGHTS, min_size=count, max_size=count)) if aggregate.takes_weights else [1.0] * count
    norms = draw(st.lists(st.sampled_from([0.0, 0.5, 0.7, 1e300]), min_size=count, max_size=count))
    return aggregate, parts, dense, weights, norms


@examples(quick=150, whole=5000)
@given(rounds())
@pytest.mark.long
def test_every_aggregate_has_the_bits_of_plain_floats(drawn: tuple[Any, ...]) -> None:
    aggregate, parts, dense, weights, norms = drawn
    found = aggregated(aggregate, parts, dense[0].size, compute_dtype(dense[0].dtype), weights, norms)
    assert found.tobytes() == by_oracle(aggregate, dense, weights, norms).tobytes()


@each_kind
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=list(DTYPES))
def test_one_gradient_of_weight_1_is_itself(aggregate: Aggregate, dtype: Any) -> None:
    g = np.array([0.0, -0.0, 1.5, -3.0, 2.0**-24], dtype)
    wide = g.astype(compute_dtype(g.dtype))
    assert aggregated(aggregate, [Part(g)], 5, wide.dtype, norms=[0.5]).tobytes() == wide.tobytes()


def test_a_mean_is_weighted_and_is_no_mean_of_means() -> None:
    parts = [Part(np.float32([1.0])), Part(np.float32([9.0]))]
    assert aggregated(AGGREGATES[0], parts, 1, np.float32, weights=[3, 1]) == [3.0]
    assert aggregated(AGGREGATES[1], parts, 1, np.float32, weights=[3, 1]) == [2.5]


def test_a_mean_is_rounded_once() -> None:
    small = np.float32(2.0**-24)
    parts = [Part(np.float32([1.0])), *[Part(np.array([small]))] * 2]
    assert aggregated(Aggregate("mean_of_sums"), parts, 1, np.float32, weights=[0.5, 0.25, 0.25]) == [1 + 2.0**-23]


@pytest.mark.parametrize("aggregate", AGGREGATES[2:], ids=lambda aggregate: aggregate.kind)
def test_a_gradient_times_1000_moves_a_robust_aggregate_little(aggregate: Aggregate) -> None:
    rng = np.random.default_rng(0)
    good = [rng.standard_normal(100).astype(np.float32) for _ in range(4)]
    grads = [*good, good[0] * 1000]
    norms = [float(np.linalg.norm(g)) for g in grads]
    found = aggregated(aggregate, [Part(g) for g in grads], 100, np.float32, norms=norms)
    assert np.abs(found).max() <= max(np.abs(g).max() for g in good)
    assert np.abs(aggregated(AGGREGATES[0], [Part(g) for g in grads], 100, np.float32)).max() > 100


def test_many_values_are_sorted_as_by_numpy() -> None:
    grads = np.random.default_rng(1).standard_normal((101, 50)).astype(np.float32)
    found = aggregated(Aggregate("median"), [Part(g) for g in grads], 50, np.float32)
    assert found.tolist() == np.median(grads, axis=0).tolist()


@pytest.mark.parametrize(("trim", "count", "dropped"), [(0.0, 9, 0), (0.25, 4, 1), (0.29, 100, 29), (0.49, 2, 0)])
def test_the_dropped_share_is_of_the_written_number(trim: float, count: int, dropped: int) -> None:
    assert trimmed(trim, count) == dropped


def test_a_wide_gradient_of_a_half_is_exact() -> None:
    g = np.array([1 / 3, 65504, math.pi], ml_dtypes.bfloat16)
    found = aggregated(Aggregate("mean"), [Part(g), Part(g)], 3, np.float32)
    assert found.tolist() == g.astype(np.float32).tolist()
