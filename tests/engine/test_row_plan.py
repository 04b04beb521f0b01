"""Steps of rows: dense ones equal zeros, and lazy ones that name all rows equal the rule, to the bit."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optim_engine import NonFinite, Outcome, State, TensorMismatch, step
from optim_engine.arrays import Array
from optim_engine.config import Config
from optim_engine.layout import Layout
from optim_engine.machine import Machine
from tests.engine.cases import DTYPES, KERNELS, Case, each_dtype, one_cell_each, same_bits, tensors
from tests.engine.row_cases import LAZY, SHAPE, TAKING, config_of, drawn, own, table
from tests.examples import examples

CLIPS: dict[str, Any] = {"free": {}, "norm": {"clip": {"global_norm": 0.7}}, "value": {"clip": {"value": 0.3}}}
OTHERS = {"a": (5, 8), "b.bias": (7,)}


def alike(left: Outcome, right: Outcome) -> bool:
    """Return whether two steps led to the same state, metrics and parameters."""
    return (
        left.state.memory.tobytes() == right.state.memory.tobytes()
        and left.state.counts == right.state.counts
        and repr(left.metrics) == repr(right.metrics)
        and same_bits(dict(left.params), dict(right.params))
    )


def zeros_but(rows: Array, g: Array) -> Array:
    whole = np.zeros(SHAPE, g.dtype)
    whole[rows] = g
    return whole


@one_cell_each("case, dtype, around", TAKING, DTYPES, CLIPS)
def test_dense_rows_equal_zeros_sent(case: Case, dtype: type[Any], around: dict[str, Any]) -> None:
    config, others = config_of(case, **around), tensors(9, dtype, OTHERS)
    state = step(config, State.empty(), {"emb": table(0, dtype), **others}, {"emb": table(1, dtype), **others}).state
    for t in range(4):
        rows, g = drawn(t, dtype)
        sent = step(config, state, {}, {"a": others["a"], "emb": zeros_but(rows, g)})
        named = step(config, state, {}, {"a": others["a"], "emb": g}, rows={"emb": rows})
        whole = dict(sent.params)
        assert same_bits(dict(named.params), {**whole, "emb": whole["emb"][rows]})
        assert alike(named, Outcome(sent.state, named.params, sent.metrics))
        state = named.state


@one_cell_each("case, dtype, machine", LAZY, DTYPES, KERNELS)
def test_lazy_rows_that_are_all_named_equal_the_rule(case: Case, dtype: type[Any], machine: Machine) -> None:
    plain, lazily = config_of(case), config_of(case, "lazy")
    expected = found = listed = State.empty()
    params = {"emb": table(0, dtype)}
    for t in range(1, 5):
        g = {"emb": table(t, dtype)}
        left = step(plain, expected, params, g, machine=machine)
        right = step(lazily, found, params, g, machine=machine)
        third = step(lazily, listed, params, g, rows={"emb": np.arange(SHAPE[0])}, machine=machine)
        assert same_bits(dict(left.params), dict(right.params))
        assert left.metrics == right.metrics
        assert alike(right, third)
        expected, found, listed, params = left.state, right.state, third.state, {}


@given(st.sampled_from(LAZY), st.lists(st.sets(st.integers(0, SHAPE[0] - 1)), max_size=6), st.integers(0, 9))
@examples(quick=25, whole=400)
def test_a_lazy_step_in_place_has_the_same_bits(case: Case, steps: list[set[int]], seed: int) -> None:
    config = config_of(case, "lazy", schedule={"kind": "cosine", "total_steps": 10})
    state = step(config, State.empty(), {"emb": table(seed)}, {"emb": table(seed + 1)}).state
    for named in steps:
        rows = np.array(sorted(named), np.int64)
        g = {"emb": table(len(named))[rows]}
        before = state.memory.tobytes()
        apart = step(config, state, {}, g, rows={"emb": rows})
        assert state.memory.tobytes() == before
        assert alike(apart, step(config, own(state), {}, g, rows={"emb": rows}, in_place=True))
        state = apart.state


@each_dtype
def test_the_order_of_other_tensors_changes_nothing(dtype: type[Any]) -> None:
    config, others = config_of(Case("adamw", "adamw"), "lazy", clip={"global_norm": 0.5}), tensors(3, dtype, OTHERS)
    params = {"emb": table(0, dtype), **others}
    state = step(config, State.empty(), params, params).state
    rows, g = drawn(1, dtype)
    first = step(config, state, {}, {"emb": g, **others}, rows={"emb": rows})
    last = step(config, state, {}, {**others, "emb": g}, rows={"emb": rows})
    assert alike(first, last)


@pytest.mark.parametrize("sparse", ["dense", "lazy"])
@pytest.mark.parametrize("clip", [None, {"global_norm": 1.0}])
def test_a_refusal_names_the_index_in_the_table(sparse: str, clip: Any) -> None:
    config = config_of(Case("adamw", "adamw"), sparse, clip=clip)
    rows, g = drawn(1)
    g[4, 2] = np.nan
    with pytest.raises(NonFinite) as caught:
        step(config, State.empty(), {"emb": table(0)}, {"emb": g}, rows={"emb": rows})
    assert caught.value.index == (rows[4], 2)


@pytest.mark.parametrize("sparse", ["dense", "lazy"])
def test_a_skipped_step_answers_the_rows_as_they_are(sparse: str) -> None:
    config = config_of(Case("adamw", "adamw"), sparse, on_non_finite="skip")
    state = step(config, State.empty(), {"emb": table(0)}, {"emb": table(1)}).state
    rows, g = drawn(1)
    outcome = step(config, state, {}, {"emb": np.full_like(g, np.inf)}, rows={"emb": rows})
    assert (outcome.skipped, outcome.touched) == (True, ())
    assert outcome.state is state
    assert same_bits(dict(outcome.params), {"emb": state.array("emb", "params")[rows]})


def test_a_skipped_first_step_begins_no_lazy_rows() -> None:
    config = config_of(Case("adamw", "adamw"), "lazy", on_non_finite="skip")
    state = State.empty().with_params({"emb": table(0)})
    rows, g = drawn(1)
    outcome = step(config, state, {}, {"emb": np.full_like(g, np.inf)}, rows={"emb": rows})
    assert outcome.skipped
    assert outcome.state is state


def _refused(state: State, config: Config, given: dict[str, Any]) -> str:
    with pytest.raises(TensorMismatch) as caught:
        step(config, state, **given)
    return str(caught.value)


@pytest.mark.parametrize("sparse", ["dense", "lazy"])
def test_a_step_like_the_last_is_refused_like_the_first(sparse: str) -> None:
    config, (rows, g) = config_of(Case("adamw", "adamw"), sparse), drawn(1)
    good: dict[str, Any] = {"params": {}, "grads": {"emb": g}, "rows": {"emb": rows}}
    bad: dict[str, dict[str, Any]] = {
        "another row": {"rows": {"emb": rows + SHAPE[0]}},
        "rows that fall": {"rows": {"emb": rows[::-1]}},
        "fewer rows": {"rows": {"emb": rows[:-1]}},
        "rows alone": {"rows": {"emb": rows, "a": rows}},
        "no rows": {"rows": {}},
        "another width": {"grads": {"emb": g[:, 1:]}},
        "another dtype": {"grads": {"emb": g.astype(np.float64)}},
        "a parameter": {"params": {"emb": table(0)}},
        "another name": {"grads": {"a": g}, "rows": {"a": rows}},
    }
    fresh = step(config, State.empty(), {"emb": table(0)}, {"emb": table(1)}).state
    for case, change in bad.items():
        first = fresh.moved(Layout(fresh.entries))
        known = step(config, first, **good).state
        assert _refused(known, config, {**good, **change}) == _refused(fresh, config, {**good, **change}), case
