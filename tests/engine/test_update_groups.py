"""Groups with an optimizer of their own: a step is that of a session for each rule, to the bit."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from optim_engine import OPTIMIZERS, Config, State, reapply, step
from optim_engine.arrays import Array
from optim_engine.machine import Machine
from tests.engine.cases import each_dtype, each_machine, same_bits, tensors
from tests.engine.test_update_in_place import own

SHAPES = {"a.weight": (6, 5), "a.bias": (5,), "b.weight": (300, 70), "b.bias": (70,), "gain": ()}
MIXED: dict[str, tuple[str, dict[str, Any], dict[str, dict[str, Any]]]] = {
    "muon and adamw": ("adamw", {"lr": 0.01}, {"*.weight": {"optimizer": "muon", "lr": 0.02}}),
    "adamw in muon": ("muon", {"lr": 0.02}, {"*bias": {"optimizer": "adamw"}, "gain": {"optimizer": "sgd"}}),
    "lion and sgd": ("sgd", {"momentum": 0.9, "lr": 0.1}, {"a.*": {"optimizer": "lion", "weight_decay": 0.1}}),
    "adadelta, nadam and adafactor": (
        "adafactor",
        {},
        {"*bias": {"optimizer": "nadam", "cautious": True}, "b.*": {"optimizer": "adadelta"}},
    ),
    "adamw with its defaults": ("adamw", {"betas": [0.5, 0.6]}, {"a.*": {"optimizer": "adamw", "amsgrad": True}}),
}
AROUND: dict[str, Any] = {"schedule": {"kind": "cosine", "total_steps": 9}}
each_mixed = pytest.mark.parametrize("mixed", MIXED)


def mixed_config(mixed: str, **around: Any) -> Config:
    optimizer, hyperparameters, groups = MIXED[mixed]
    listed = [{"match": [pattern], **group} for pattern, group in groups.items()]
    return Config.parse(optimizer, hyperparameters=hyperparameters, groups=listed, **AROUND, **around)


def apart(mixed: str, names: list[str], **around: Any) -> dict[str | None, tuple[Config, list[str]]]:
    """Return a session for each group (`None` is the rest), and the names of its tensors."""
    optimizer, hyperparameters, groups = MIXED[mixed]
    sessions: dict[str | None, tuple[Config, list[str]]] = {}
    for pattern, group in groups.items():
        taken = {name for _, others in sessions.values() for name in others}
        stem = pattern.strip("*")
        of_group = [name for name in names if name not in taken and (name.startswith(stem) or name.endswith(stem))]
        h = {key: value for key, value in group.items() if key != "optimizer"}
        sessions[pattern] = Config.parse(group["optimizer"], hyperparameters=h, groups=[], **AROUND, **around), of_group
    rest = [name for name in names if all(name not in others for _, others in sessions.values())]
    sessions[None] = Config.parse(optimizer, hyperparameters=hyperparameters, groups=[], **AROUND, **around), rest
    return {key: (config, of_group) for key, (config, of_group) in sessions.items() if of_group}


def of(names: list[str], arrays: dict[str, Array]) -> dict[str, Array]:
    return {name: arrays[name] for name in names if name in arrays}


@each_mixed
@each_machine
@pytest.mark.parametrize("hold", [False, True], ids=["sent", "held"])
def test_a_mixed_step_is_a_step_of_each_rule(mixed: str, machine: Machine, hold: bool) -> None:
    whole, state = mixed_config(mixed, hold_params=hold), State.empty()
    sessions = apart(mixed, [*SHAPES], hold_params=hold)
    states = dict.fromkeys(sessions, State.empty())
    params = tensors(0, np.float32, SHAPES)
    for t, names in enumerate([[*SHAPES], ["a.weight", "a.bias", "gain"], [*SHAPES]], start=1):
        grads = of(names, tensors(t, np.float32, SHAPES))
        sent = {} if hold and t > 1 else of(names, params)
        outcome = step(whole, state, sent, grads, machine=machine)
        together: dict[str, Array] = {}
        for key, (config, own_names) in sessions.items():
            if not (some := of(own_names, grads)):
                continue
            lonely = replace(states[key], t=t - 1)
            one = step(config, lonely, of([*some], sent), some, machine=machine)
            states[key], together = one.state, {**together, **one.params}
            for slot, tensor, array in one.state.arrays():
                assert array.tobytes() == outcome.state.array(tensor, slot).tobytes()
        assert same_bits(outcome.params, {name: together[name] for name in grads})
        params, state = {**params, **outcome.params}, outcome.state


@each_mixed
@each_dtype
def test_a_mixed_step_is_reapplied_and_taken_in_place(mixed: str, dtype: type[Any]) -> None:
    config = mixed_config(mixed, clip={"global_norm": 1.0})
    params, state = tensors(0, dtype, SHAPES), State.empty()
    for t in range(1, 4):
        grads = tensors(t, dtype, SHAPES)
        outcome = step(config, state, params, grads)
        again = reapply(config, outcome.state, params, grads, clip_scale=outcome.metrics.clip_scale)
        assert same_bits(again, outcome.params)
        placed = step(config, own(state), params, grads, in_place=True)
        assert same_bits(placed.params, outcome.params)
        assert placed.state.memory.tobytes() == outcome.state.memory.tobytes()
        params, state = dict(outcome.params), outcome.state


def test_the_norm_of_all_rules_together_is_clipped() -> None:
    config = mixed_config("lion and sgd", clip={"global_norm": 1.0})
    params, grads = tensors(0, np.float64, SHAPES), tensors(1, np.float64, SHAPES)
    clipped = step(config, State.empty(), params, grads)
    scale = 1 / (np.sqrt(sum(float((g**2).sum()) for g in grads.values())) + 1e-6)
    assert clipped.metrics.clip_scale == pytest.approx(scale, rel=1e-12)
    scaled = {name: g * clipped.metrics.clip_scale for name, g in grads.items()}
    plain = step(mixed_config("lion and sgd"), State.empty(), params, scaled)
    assert same_bits(clipped.params, plain.params)
    assert clipped.metrics.lr == plain.metrics.lr == 0.1


def test_overrides_by_name_are_those_of_the_groups_rule() -> None:
    groups = [{"match": ["a.*"], "optimizer": "lion", "name": "lions"}]
    config = Config.parse("sgd", groups=groups)
    like = Config.parse("sgd", hyperparameters={"lr": 0.5}, groups=[{**groups[0], "betas": [0.5, 0.6], "lr": 0.25}])
    params, grads = tensors(0, np.float32, SHAPES), tensors(1, np.float32, SHAPES)
    overrides = {"lr": 0.5, "groups": {"lions": {"lr": 0.25, "betas": [0.5, 0.6]}}}
    outcome = step(config, State.empty(), params, grads, overrides=overrides)
    assert same_bits(outcome.params, step(like, State.empty(), params, grads).params)
    again = reapply(config, outcome.state, params, grads, clip_scale=1.0, overrides=overrides)
    assert same_bits(again, outcome.params)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_rule_in_a_group_has_its_sessions_bits(optimizer: str) -> None:
    shapes = {"w": (6, 5), "other": (7,)}
    mixed = Config.parse("sgd", groups=[{"match": ["w"], "optimizer": optimizer}])
    alone = Config.parse(optimizer, groups=[])
    params, state, lonely = tensors(0, np.float32, shapes), State.empty(), State.empty()
    for t in range(1, 5):
        grads = tensors(t, np.float32, shapes)
        outcome = step(mixed, state, params, grads)
        one = step(alone, lonely, of(["w"], params), of(["w"], grads))
        assert same_bits(of(["w"], dict(outcome.params)), dict(one.params))
        assert same_bits(reapply(mixed, outcome.state, params, grads, clip_scale=1.0), outcome.params)
        assert outcome.state.entries["w"] == one.state.entries["w"]
        params, state, lonely = dict(outcome.params), outcome.state, one.state
