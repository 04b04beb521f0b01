"""Overrides: hyperparameters of one step alone, what they replace, and what they may not."""

from typing import Any

import numpy as np
import pytest

from optim_engine import Config, InvalidConfig, State, plan, reapply, step
from optim_engine.machine import Machine
from optim_engine.overrides import overridden
from tests.engine.cases import each_dtype, each_machine, same_bits, tensors

GROUPS = [{"match": ["*bias"], "lr": 0.5}, {"match": ["gain"], "weight_decay": 0.5}]
HALVED = {"kind": "exponential", "gamma": 0.5}


def session(optimizer: str = "adamw", **hyperparameters: Any) -> Config:
    return Config.parse(optimizer, hyperparameters=hyperparameters, groups=GROUPS, schedule=HALVED)


@pytest.mark.parametrize(
    ("overrides", "lr", "rates"),
    [
        (None, None, {None: 0.25, 0: 0.25, 1: 0.25}),
        (None, 3.0, {None: 3.0, 0: 0.25, 1: 3.0}),
        ({"lr": 3}, None, {None: 3.0, 0: 0.25, 1: 3.0}),
        ({"weight_decay": 0.5}, 3.0, {None: 3.0, 0: 0.25, 1: 3.0}),
        ({"groups": {"0": {"lr": 7}}}, None, {None: 0.25, 0: 7.0, 1: 0.25}),
        ({"groups": {"1": {"lr": 7}}}, 3.0, {None: 3.0, 0: 0.25, 1: 7.0}),
        ({"lr": 0, "groups": {"1": {"lr": 7}, "0": {}}}, None, {None: 0.0, 0: 0.25, 1: 7.0}),
    ],
)
def test_given_rates_replace_scheduled_ones(overrides: Any, lr: Any, rates: Any) -> None:
    assert overridden(session(lr=0.5), overrides, lr).learning_rates(2) == rates


def test_a_group_keeps_what_is_its_own() -> None:
    given = overridden(session(), {"weight_decay": 0.25, "betas": [0.8, 0.9], "groups": {"1": {"eps": 1e-3}}}, None)
    found = [given.config.hyperparameters_of(group) for group in (None, 0, 1)]
    assert [h.weight_decay for h in found] == [0.25, 0.25, 0.5]
    assert [h.betas for h in found] == [(0.8, 0.9)] * 3  # type: ignore[attr-defined]
    assert [h.eps for h in found] == [1e-8, 1e-8, 1e-3]  # type: ignore[attr-defined]


MIXED = Config.parse(
    "adamw",
    groups=[
        {"match": ["*.weight"], "optimizer": "muon", "lr": 0.5, "name": "matrices"},
        {"match": ["gain"], "optimizer": "adamw"},
    ],
    schedule=HALVED,
)


def test_a_group_with_an_optimizer_takes_only_its_own_overrides() -> None:
    overrides = {"lr": 3, "weight_decay": 0.25, "groups": {"matrices": {"momentum": 0.5, "lr": 7}}}
    given = overridden(MIXED, overrides, None)
    found = [given.config.hyperparameters_of(group) for group in (None, 0, 1)]
    assert [h.weight_decay for h in found] == [0.25, 0.1, 0.01]
    assert found[1].momentum == 0.5  # type: ignore[attr-defined]
    assert given.learning_rates(2) == {None: 3.0, 0: 7.0, 1: 0.0005}
    assert overridden(MIXED, {"groups": {"0": {"momentum": 0.5}}}, 3.0).learning_rates(2)[0] == 0.25


@pytest.mark.parametrize(
    ("groups", "where", "words"),
    [
        ({"others": {}}, "overrides.groups.others", "unknown group; expected one of 0, 1, matrices"),
        ({"matrices": {}, "0": {}}, "overrides.groups.0", "is the same group as overrides.groups.matrices: name it"),
        ({"matrices": {"betas": [0, 0]}}, "overrides.groups.matrices.betas", "unknown setting 'betas'; expected one"),
        ({"1": {"amsgrad": True}}, "overrides.groups.1.amsgrad", "needs the moments (m, v, v_max)"),
    ],
)
def test_what_a_groups_rule_does_not_take_is_refused(groups: Any, where: str, words: str) -> None:
    with pytest.raises(InvalidConfig) as raised:
        overridden(MIXED, {"groups": groups}, None)
    assert raised.value.where == where
    assert words in raised.value.message


def test_the_default_group_can_be_overridden() -> None:
    config = Config.parse("adamw")
    given = overridden(config, {"groups": {"0": {"weight_decay": 0.5}}}, None)
    assert given.config.hyperparameters_of(0).weight_decay == 0.5
    assert config.hyperparameters_of(0).weight_decay == 0


@each_machine
@each_dtype
def test_a_step_is_that_of_a_session_with_those_settings(machine: Machine, dtype: type[Any]) -> None:
    params, state = tensors(0, dtype), step(session(), State.empty(), tensors(0, dtype), tensors(1, dtype)).state
    overrides = {"lr": 0.25, "betas": [0.5, 0.75], "groups": {"1": {"lr": 0.125, "weight_decay": 0.0}}}
    like = Config.parse(
        "adamw",
        hyperparameters={"lr": 0.25, "betas": [0.5, 0.75]},
        groups=[{"match": ["*bias"], "lr": 0.25}, {"match": ["gain"], "lr": 0.125, "weight_decay": 0.0}],
    )
    outcome = step(session(), state, params, tensors(2, dtype), overrides=overrides, machine=machine)
    plain = step(like, state, params, tensors(2, dtype), machine=machine)
    assert same_bits(outcome.params, plain.params)
    assert outcome.metrics == plain.metrics
    assert outcome.state.memory.tobytes() == plain.state.memory.tobytes()
    assert outcome.state.layout is state.layout


@pytest.mark.parametrize("name", ["lion", "stable_adamw", "adam"])
def test_the_short_form_gives_the_same_bits(name: str) -> None:
    own = {"lion": {"decoupled_weight_decay": True}, "stable_adamw": {"decouple_lr": True}}.get(name, {})
    config = Config.parse(name, hyperparameters={"weight_decay": 0.5, **own}, groups=[])
    params, grads = tensors(0, np.float32), tensors(1, np.float32)
    short = step(config, State.empty(), params, grads, lr=0.0)
    long = step(config, State.empty(), params, grads, overrides={"lr": 0})
    assert same_bits(short.params, long.params)


@each_dtype
def test_a_replay_uses_the_overrides(dtype: type[Any]) -> None:
    config, params, state = session(), tensors(0, dtype), State.empty()
    for t, overrides in enumerate([None, {"betas": [0.5, 0.6], "groups": {"0": {"lr": 1.0}}}, {"weight_decay": 1}], 1):
        grads = tensors(t, dtype)
        outcome = step(config, state, params, grads, overrides=overrides)
        again = reapply(config, outcome.state, params, grads, clip_scale=1.0, overrides=overrides)
        assert same_bits(again, outcome.params)
        params, state = outcome.params, outcome.state


def test_learning_rates_alone_need_no_plan_of_their_own() -> None:
    config, params = session(), tensors(0, np.float32)
    state = step(config, State.empty(), params, tensors(1, np.float32)).state
    for lr in (0.1, 0.2):
        step(config, state, params, tensors(2, np.float32), overrides={"lr": lr, "groups": {"0": {"lr": lr}}})
    assert len(plan.plans_of(state.layout)) <= 2
    assert overridden(config, {"lr": 3}, None).config is config


def test_other_hyperparameters_keep_the_matched_names() -> None:
    config = session()
    config.groups_of(["gain"])
    assert overridden(config, {"eps": 0.5}, None).config._grouping is config._grouping


REFUSED: list[tuple[str, Any, Any, str, str]] = [
    ("adamw", {"lr": 1}, 1.0, "overrides.lr", "its short form: send one of the two"),
    ("adamw", [], None, "overrides", "must be an object of hyperparameters"),
    ("adamw", {"lr": -1}, None, "overrides.lr", "-1 is out of range"),
    ("adamw", {"lr": None}, None, "overrides.lr", "must be a number, not null"),
    ("adamw", {"betas": [0.9]}, None, "overrides.betas", "must be two numbers"),
    ("adamw", {"momentum": 0.9}, None, "overrides.momentum", "unknown setting 'momentum'"),
    ("adamw", {"optimizer": "sgd"}, None, "overrides.optimizer", "unknown setting 'optimizer'"),
    ("adamw", {"groups": []}, None, "overrides.groups", "must be an object with hyperparameters by index"),
    ("adamw", {"groups": {"2": {}}}, None, "overrides.groups.2", "unknown group; expected one of 0, 1"),
    ("adamw", {"groups": {"-1": {}}}, None, "overrides.groups.-1", "unknown group"),
    ("adamw", {"groups": {"00": {}}}, None, "overrides.groups.00", "unknown group"),
    ("adamw", {"groups": {"0": 1}}, None, "overrides.groups.0", "must be an object of hyperparameters, not 1"),
    ("adamw", {"groups": {"0": {"lr": "a"}}}, None, "overrides.groups.0.lr", "must be a number"),
    ("adamw", {"groups": {"0": {"match": ["*"]}}}, None, "overrides.groups.0.match", "unknown setting 'match'"),
    (
        "adamw",
        {"eps": 1, "amsgrad": True},
        None,
        "overrides.amsgrad",
        "needs the moments (m, v, v_max), and the session",
    ),
    ("adamw", {"groups": {"1": {"amsgrad": True}}}, None, "overrides.groups.1.amsgrad", "change the session"),
    ("sgd", {"momentum": 0.9}, None, "overrides.momentum", "needs the moments (m), and the session keeps ()"),
    ("sgd", {"nesterov": True, "momentum": 0.9}, None, "overrides.momentum", "needs the moments"),
    ("rmsprop", {"centered": True}, None, "overrides.centered", "needs the moments (m, v)"),
]


@pytest.mark.parametrize(("optimizer", "overrides", "lr", "where", "words"), REFUSED)
def test_a_refusal_names_the_place(optimizer: str, overrides: Any, lr: Any, where: str, words: str) -> None:
    config, params = session(optimizer), tensors(0, np.float32)
    with pytest.raises(InvalidConfig) as raised:
        step(config, State.empty(), params, params, lr=lr, overrides=overrides)
    assert raised.value.where == where
    assert words in raised.value.message


def test_momentum_cannot_be_switched_off() -> None:
    with pytest.raises(InvalidConfig, match=r"overrides.momentum: needs the moments \(\), and the session keeps \(m\)"):
        overridden(session("sgd", momentum=0.9), {"momentum": 0}, None)


def test_without_groups_none_can_be_overridden() -> None:
    with pytest.raises(InvalidConfig, match="the session has no groups"):
        overridden(Config.parse("adamw", groups=[]), {"groups": {"0": {}}}, None)
