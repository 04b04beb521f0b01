"""Schedules: the factor at every kind of step, and growth beyond the range of a float."""

from math import isinf
from typing import Any

import numpy as np
import pytest

from optim_engine import SCHEDULES, Config, InvalidConfig, State, step
from optim_engine.fields import field_schema
from tests import contract, oracle
from tests.contract import FACTORS
from tests.engine.cases import tensors

FAR = 10**9
ENDLESS = {"constant", "step", "exponential", "inverse_sqrt", "cosine_restarts"}


def factor(schedule: dict[str, Any], s: int) -> float:
    config = Config.parse("sgd", schedule=schedule)
    assert config.schedule is not None
    return config.schedule.at(s)


@pytest.mark.parametrize(("schedule", "factors"), FACTORS, ids=lambda x: x.get("kind"))
def test_the_factor_is_that_of_the_contract(schedule: dict[str, Any], factors: dict[int, float]) -> None:
    assert {s: factor(schedule, s) for s in factors} == pytest.approx(factors, rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("schedule", [schedule for schedule, _ in FACTORS], ids=lambda x: x["kind"])
def test_the_factor_is_the_oracles_at_every_step(schedule: dict[str, Any]) -> None:
    for s in [*range(1, 60), 1000]:
        assert factor(schedule, s) == pytest.approx(oracle.factor(schedule, s), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("schedule", [schedule for schedule, _ in FACTORS], ids=lambda x: x["kind"])
def test_start_step_shifts_every_schedule_and_holds_its_first_factor(schedule: dict[str, Any]) -> None:
    late = schedule | {"start_step": 50}
    assert [factor(late, step) for step in (1, 49, 50, 51)] == [factor(schedule, 1)] * 4
    assert factor(late, 50 + FAR) == factor(schedule, FAR)
    for s in [*range(1, 60), 1000]:
        assert factor(late, 50 + s) == factor(schedule, s)
        assert factor(late, 50 + s) == pytest.approx(oracle.factor(late, 50 + s), rel=1e-12, abs=1e-15)


@pytest.mark.parametrize("schedule", [schedule for schedule, _ in FACTORS], ids=lambda x: x["kind"])
def test_start_step_is_written_only_where_it_is_not_zero(schedule: dict[str, Any]) -> None:
    plain = Config.parse("sgd", schedule=schedule).to_dict()["schedule"]
    assert "start_step" not in plain
    assert Config.parse("sgd", schedule=schedule | {"start_step": 0}).to_dict()["schedule"] == plain
    assert Config.parse("sgd", schedule=schedule | {"start_step": 7}).to_dict()["schedule"] == plain | {"start_step": 7}


@pytest.mark.parametrize("start_step", [-1, 1.5, "50", True, None, 2**53 + 1])
def test_a_start_step_that_is_no_count_is_refused(start_step: Any) -> None:
    with pytest.raises(InvalidConfig, match=r"schedule\.start_step: "):
        Config.parse("sgd", schedule={"kind": "cosine", "total_steps": 10, "start_step": start_step})


@pytest.mark.parametrize("schedule", [schedule for schedule, _ in FACTORS], ids=lambda x: x["kind"])
def test_a_schedule_is_over_once_its_factor_stays(schedule: dict[str, Any]) -> None:
    read = Config.parse("sgd", schedule=schedule).schedule
    assert read is not None
    assert not read.is_over(1)
    over = next((s for s in range(1, 100) if read.is_over(s)), None)
    assert (over is None) == (schedule["kind"] in ENDLESS or schedule.get("factors", [0])[-1] > 0)
    if over is not None:
        assert {read.at(s) for s in range(over, 200)} == {read.at(over)}
        assert over == read.end + 1
        late = Config.parse("sgd", schedule=schedule | {"start_step": over - 1}).schedule
        assert late is not None
        assert not late.is_over(over)


@pytest.mark.parametrize(
    "schedule",
    [
        {"kind": "warmup_stable_decay", "warmup_steps": 2, "stable_steps": 1, "decay_steps": 3},
        {"kind": "warmup_stable_decay", "warmup_steps": 0, "stable_steps": 0, "decay_steps": 1},
        {"kind": "polynomial", "total_steps": 100, "power": 1000},
        {"kind": "piecewise", "boundaries": [1, 3], "factors": [1, 0, 0]},
    ],
)
def test_a_zero_before_its_end_does_not_end_a_schedule(schedule: dict[str, Any]) -> None:
    read = Config.parse("sgd", schedule=schedule).schedule
    late = Config.parse("sgd", schedule=schedule | {"start_step": 50}).schedule
    assert read is not None
    assert late is not None
    end = int(read.end)
    assert (read.at(end), read.is_over(end), read.is_over(end + 1)) == (0, False, True)
    assert (late.is_over(1), late.is_over(50 + end), late.is_over(51 + end)) == (False, False, True)


def test_a_schedule_is_over_where_its_factor_became_zero() -> None:
    read = Config.parse("sgd", schedule={"kind": "exponential", "gamma": 0.5}).schedule
    assert read is not None
    assert not read.is_over(1000)
    assert read.is_over(2000)


def test_every_schedule_is_in_the_contract() -> None:
    assert set(SCHEDULES) == set(oracle.FACTORS) == {schedule["kind"] for schedule, _ in FACTORS}


@pytest.mark.parametrize("kind", SCHEDULES)
def test_a_schedule_has_the_contracts_settings_and_formula(kind: str) -> None:
    expected, schema = contract.SCHEDULES[kind], field_schema(SCHEDULES[kind])
    assert (schema["properties"], schema.get("required", [])) == (expected["settings"], expected["required"])
    assert (SCHEDULES[kind].__doc__ or "").removeprefix("Always ").removesuffix(".") == expected["formula"]


@pytest.mark.parametrize("schedule", [schedule for schedule, _ in FACTORS], ids=lambda x: x["kind"])
def test_a_schedule_is_written_as_it_is_read(schedule: dict[str, Any]) -> None:
    written = Config.parse("sgd", schedule=schedule).to_dict()["schedule"]
    assert schedule.items() <= written.items()
    assert Config.parse("sgd", schedule=written).to_dict()["schedule"] == written


@pytest.mark.parametrize(
    "schedule", [{"kind": "exponential", "gamma": 10}, {"kind": "step", "step_size": 1, "gamma": 10}]
)
def test_growth_beyond_a_float_is_refused_at_that_step(schedule: dict[str, Any]) -> None:
    config = Config.parse("sgd", schedule=schedule, hyperparameters={"momentum": 0.9})
    params = grads = tensors(0, np.float64)
    known = step(config, State.empty(), params, grads).state
    state = State(308, known.layout, known.counts, known.memory)
    before = state.memory.tobytes()
    assert isinf(factor(schedule, 310))
    assert step(config, state, params, grads).metrics.lr == pytest.approx(1e305)
    late = State(311, known.layout, known.counts, known.memory)
    with pytest.raises(InvalidConfig, match="makes the learning rate inf at step 312; change the schedule or lr"):
        step(config, late, params, grads)
    assert state.memory.tobytes() == before


def test_a_given_learning_rate_holds_for_one_step() -> None:
    config = Config.parse("sgd", hyperparameters={"lr": 8}, schedule={"kind": "exponential", "gamma": 0.5})
    params, grads = tensors(0, np.float64), tensors(1, np.float64)
    state, seen = State.empty(), []
    for lr in (None, None, 5.0, None):
        outcome = step(config, state, params, grads, lr=lr)
        state = outcome.state
        seen.append(outcome.metrics.lr)
        np.testing.assert_allclose(outcome.params["gain"], params["gain"] - seen[-1] * grads["gain"])
    assert seen == [8, 4, 5, 1]
