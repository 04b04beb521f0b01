"""Lazy rows: those that are not named keep everything, and decay is caught up under any schedule."""

import numpy as np
import pytest

from optim_engine import Config, State, held_params, step
from optim_engine.rates import learning_rates
from tests.engine.cases import Case
from tests.engine.row_cases import LAZY, SHAPE, config_of, drawn, slots, table
from tests.oracle_lazy import Row


@pytest.mark.parametrize("case", LAZY, ids=lambda case: case.name)
def test_lazy_rows_equal_the_oracles(case: Case) -> None:
    schedule = {"kind": "cosine", "total_steps": 60}
    config = config_of(case, "lazy", schedule=schedule)
    θ = table(0, np.float64)
    oracle = [Row(case.optimizer, config, values.tolist()) for values in θ]
    state, params = State.empty(), {"emb": θ}
    for t in range(1, 40):
        rows, g = drawn(t, np.float64, count=3)
        named = [*rows] if t > 1 else range(SHAPE[0])
        g = g if t > 1 else table(1, np.float64)
        outcome = step(config, state, params, {"emb": g}, rows={"emb": rows} if t > 1 else {})
        for i, row in enumerate(oracle):
            row.step(t, g[[*named].index(i)].tolist() if i in named else None)
        np.testing.assert_allclose(outcome.params["emb"], [oracle[i].values for i in named], rtol=1e-11, atol=1e-13)
        state, params = outcome.state, {}
    np.testing.assert_allclose(held_params(state, {"emb": None})["emb"], [row.settled() for row in oracle], rtol=1e-11)


def test_rows_that_are_not_named_keep_everything() -> None:
    config = config_of(Case("adamw", "adamw", {"amsgrad": True}), "lazy")
    state = step(config, State.empty(), {"emb": table(0)}, {"emb": table(1)}).state
    rows, g = drawn(2)
    after = step(config, state, {}, {"emb": g}, rows={"emb": rows}).state
    others = np.setdiff1d(np.arange(SHAPE[0]), rows)
    for slot, array in slots(after).items():
        same = array[others] == state.array("emb", slot)[others] if slot != "decay" else np.array(True)
        assert same.all(), slot
    assert after.array("emb", "row_steps")[rows].tolist() == [2] * len(rows)
    assert after.array("emb", "decay")[0] < state.array("emb", "decay")[0]


def test_a_row_catches_up_with_a_cosine_within_one_ulp() -> None:
    case = Case("adamw", "adamw", {"lr": 0.05, "weight_decay": 0.1})
    config = config_of(case, "lazy", schedule={"kind": "cosine", "total_steps": 1200})
    θ = table(0)
    state = step(config, State.empty(), {"emb": θ}, {"emb": table(1)}).state
    start, row = state.array("emb", "params").astype(np.float64), np.array([0])
    factors = np.ones((), np.longdouble)
    for t in range(2, 1002):
        state = step(config, state, {}, {"emb": table(t)[:1]}, rows={"emb": row}, in_place=True).state
        factors *= 1 - np.longdouble(learning_rates(config, t)[0]) * np.longdouble(0.1)
    oracle = (start[1:] * factors).astype(np.float32)
    found = held_params(state, {"emb": np.arange(1, SHAPE[0])})["emb"]
    assert (np.abs(found - oracle) <= np.spacing(np.abs(oracle))).all()


def test_a_step_that_does_not_name_the_tensor_leaves_it() -> None:
    config = config_of(Case("adamw", "adamw"), "lazy")
    params = {"emb": table(0), "a": table(2)}
    state = step(config, State.empty(), params, params).state
    before, after = slots(state), slots(step(config, state, {}, {"a": table(3)}).state)
    assert all((before[slot] == after[slot]).all() for slot in before)


def test_counts_of_rows_correct_their_own_bias() -> None:
    config = config_of(Case("adam", "adam"), "lazy")
    state = State.empty().with_params({"emb": table(0)})
    for rows in ([0, 1, 2], [0, 1], [0]):
        indices = np.array(rows)
        state = step(config, state, {}, {"emb": table(1)[indices]}, rows={"emb": indices}).state
    assert state.array("emb", "row_steps")[:4].tolist() == [3, 2, 1, 0]
    alone = State.empty().with_params({"emb": table(0)})
    late = step(config, alone, {}, {"emb": table(1)[2:3]}, rows={"emb": np.array([2])}).state
    assert state.array("emb", "params")[2].tobytes() == late.array("emb", "params")[2].tobytes()


def test_a_dense_tensor_that_becomes_lazy_keeps_its_count() -> None:
    plain, lazily = (config_of(Case("adamw", "adamw"), sparse) for sparse in ("dense", "lazy"))
    state = step(plain, State.empty(), {"emb": table(0)}, {"emb": table(1)}).state
    dense, rows = step(plain, state, {}, {"emb": table(2)}), step(lazily, state, {}, {"emb": table(2)})
    assert dense.params["emb"].tobytes() == rows.params["emb"].tobytes()
    back = step(plain, rows.state, {}, {"emb": table(3)})
    assert back.params["emb"].tobytes() == step(plain, dense.state, {}, {"emb": table(3)}).params["emb"].tobytes()


def test_a_single_number_may_stand_in_a_lazy_group() -> None:
    config = Config.parse("adamw", hold_params=True, groups=[{"match": ["*"], "sparse": "lazy"}])
    plain = Config.parse("adamw", hold_params=True, groups=[])
    x, nothing = np.full((), 2.0, np.float32), np.zeros((0, 3), np.float32)
    grads = {"x": x, "nothing": nothing}
    found, expected = (step(one, State.empty(), grads, grads) for one in (config, plain))
    assert found.params["x"] == expected.params["x"]
    assert found.metrics == expected.metrics
