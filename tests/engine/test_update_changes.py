"""The sum of squares of each tensor's change: of what the step did to it, and so that their sum is `update_norm`."""

from typing import Any

import numpy as np
import pytest

from optim_engine import OPTIMIZERS, Config, State, arrays, step
from optim_engine.machine import Machine
from optim_engine.rule import SharingRule
from optim_engine.sums import in_order
from tests.engine.cases import (
    ALL,
    DTYPES,
    HOLD,
    KERNELS,
    RULES,
    WITH_LARGE,
    Case,
    each_case_and_machine,
    one_cell_each,
)  # fmt: skip
from tests.engine.row_cases import LAZY, config_of, drawn, table

NAMES = sorted(WITH_LARGE)


@one_cell_each("case, dtype, hold", ALL, {name: DTYPES[name] for name in ("float64", "float32")}, HOLD)
def test_changes_are_those_of_the_parameters(case: Case, dtype: type[Any], hold: bool) -> None:
    config, state = Config.parse(**{**case.config.to_dict(), "hold_params": hold}), State.empty()
    params = case.tensors(0, dtype, WITH_LARGE)
    for t in range(1, 4):
        outcome = step(config, state, {} if hold and t > 1 else params, case.tensors(t, dtype, WITH_LARGE))
        assert outcome.changes is not None
        moved = [np.square(outcome.params[name].astype(float) - params[name].astype(float)).sum() for name in NAMES]
        exact = 1e-9 if dtype is np.float64 else 1e-2  # the new parameter is rounded after the change was summed
        assert outcome.changes.tolist() == pytest.approx(moved, rel=exact, abs=1e-7)
        assert float(in_order(outcome.changes[:, None])[0, 0]) ** 0.5 == outcome.metrics.update_norm
        state, params = outcome.state, {**outcome.params}


@each_case_and_machine
def test_a_tensor_alone_has_the_same_bits(case: Case, machine: Machine) -> None:
    """Packed with others, or cut into blocks, by each kernel; unless the rule or clipping lets tensors share."""
    config = case.config
    if isinstance(OPTIMIZERS[config.optimizer], SharingRule) or config.clip:
        config = Config.parse("adamw", hyperparameters={"lr": 0.1})
    params, grads = (case.tensors(seed, np.float32, WITH_LARGE) for seed in (0, 1))
    together = step(config, State.empty(), params, grads, machine=machine).changes
    assert together is not None
    for name, found in zip(NAMES, together, strict=True):
        alone = step(config, State.empty(), {name: params[name]}, {name: grads[name]}).changes
        assert alone is not None
        assert alone.tolist() == [found]


@pytest.mark.parametrize("kernel", KERNELS)
def test_changes_are_in_the_order_of_names_whatever_packs(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("optim_engine.plan.LARGEST_PACK", 8)
    monkeypatch.setattr(arrays, "CHUNK", 1 << 16)
    groups = [{"match": ["b*"], "lr": 0.5}, {"match": ["é"], "optimizer": "adam", "lr": 1.0}]
    config = Config.parse("sgd", hyperparameters={"lr": 1.0}, groups=groups)
    shapes = {"z": (3,), "é": (5,), "b2": (200_000,), "a": (9,), "b1": (2,), "😀": (1,)}
    params = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    grads = {name: np.ones(shape, np.float32) for name, shape in shapes.items()}
    outcome = step(config, State.empty(), params, grads, machine=KERNELS[kernel])
    assert outcome.changes is not None
    expected = {"a": 9, "b1": 0.5, "b2": 50_000, "z": 3, "é": 5, "😀": 1}
    assert [*expected] == sorted(expected, key=str.encode)
    assert outcome.changes.tolist() == pytest.approx([*expected.values()], rel=1e-6)


@pytest.mark.parametrize("sparse", ["dense", "lazy"])
@pytest.mark.parametrize("case", LAZY[:3] + LAZY[-3:], ids=lambda case: case.name)
def test_changes_of_rows_are_those_of_the_rows(case: Case, sparse: str) -> None:
    config = config_of(case, sparse)
    params = {"emb": table(0, np.float64), "a": table(3, np.float64)}
    state = step(config, State.empty(), params, {"emb": table(1, np.float64), "a": table(4, np.float64)}).state
    rows, g = drawn(2, np.float64)
    before = state.caught_up("emb").copy()
    outcome = step(config, state, {}, {"emb": g, "a": table(5, np.float64)}, rows={"emb": rows})
    after = outcome.state.caught_up("emb")
    part = rows if sparse == "lazy" else slice(None)
    assert outcome.changes is not None
    assert outcome.changes[1] == pytest.approx(np.square(after[part] - before[part]).sum(), rel=1e-9)


def test_a_skipped_step_has_no_changes() -> None:
    config = Config.parse("sgd", on_non_finite="skip")
    outcome = step(config, State.empty(), {"w": np.ones(2)}, {"w": np.array([1, np.nan])})
    assert outcome.skipped
    assert outcome.changes is None


@pytest.mark.parametrize("case", RULES[:1], ids=lambda case: case.name)
def test_an_empty_tensor_changes_by_nothing(case: Case) -> None:
    arrays_ = {"w": np.zeros((0, 3), np.float32), "x": np.ones(1, np.float32)}
    outcome = step(case.config, State.empty(), arrays_, arrays_)
    assert outcome.changes is not None
    assert outcome.changes[0] == 0
    assert outcome.changes[1] > 0
