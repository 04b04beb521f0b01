"""The settings of a session in the client: their places in a request, and their types, compared with the service's."""

import json
from collections.abc import Sequence
from dataclasses import fields
from functools import reduce
from operator import or_
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from optim_client import _calls, settings
from optim_client.settings import Changes, EffectiveSettings, Group, Hyperparameters, Settings

from app.session import Session
from app.wire.session_json import CHANGEABLE, CREATION
from optim_engine import OPTIMIZERS, Config
from optim_engine.groups import BESIDE
from tests import contract

RULES = [get_type_hints(rule.settings) for rule in OPTIMIZERS.values()]
TYPES: dict[str, Any] = get_type_hints(Config) | get_type_hints(Session)
PLAIN = [name for name, row in CREATION.items() if row.schema and name not in ("optimizer", "average")]


def sent(settings: Any) -> Any:
    request = _calls.create("adamw", settings).request
    assert request.headers["content-type"] == "application/json"
    assert isinstance(request.body, bytes)
    return json.loads(request.body)


def test_hyperparameters_are_gathered_and_the_requests_own_fields_are_not() -> None:
    own = {
        "groups": [], "schedule": {"kind": "constant"}, "clip": {"global_norm": 1.0}, "on_non_finite": "skip",
        "hold_params": True, "wire_dtype": "float16", "ttl_seconds": 60, "labels": {"run": "1"},
        "on_other_params": "reject",
    }  # fmt: skip
    assert sent({**own, "lr": 0.1, "betas": (0.9, 0.99)}) == {
        "optimizer": "adamw",
        "hyperparameters": {"lr": 0.1, "betas": [0.9, 0.99]},
        **own,
    }


def test_missing_settings_are_not_sent() -> None:
    assert sent({}) == {"optimizer": "adamw"}


def test_an_unknown_setting_is_sent_as_a_hyperparameter() -> None:
    assert sent({"nesterov_strength": 2})["hyperparameters"] == {"nesterov_strength": 2}


def test_numpy_numbers_are_numbers() -> None:
    assert sent({"lr": np.float32(0.5), "eps": np.float64(1e-8), "amsgrad": np.True_})["hyperparameters"] == {
        "lr": 0.5,
        "eps": 1e-8,
        "amsgrad": True,
    }


def test_settings_that_json_lacks_are_refused() -> None:
    with pytest.raises(TypeError, match="lr must be a number, a string, a boolean, a list or a dict, not <object"):
        sent({"lr": object()})
    with pytest.raises(ValueError, match="lr must be a finite number, not nan"):
        sent({"lr": float("nan")})


@pytest.mark.parametrize("given", [{"lr": 0.1, "eps": 1e-8}, {}, 5])
def test_hyperparameters_are_passed_directly(given: Any) -> None:
    wanted = "lr=…, eps=…" if given == {"lr": 0.1, "eps": 1e-8} else "lr=…"
    with pytest.raises(TypeError, match=f"unknown setting 'hyperparameters': pass {wanted} directly"):
        sent({"hyperparameters": given})


def test_every_optimizer_has_a_type() -> None:
    assert sorted(get_args(settings.Optimizer)) == sorted(OPTIMIZERS)


def type_of(schema: dict[str, Any]) -> Any:
    """Return the type of the values that a JSON schema allows."""
    if schema["type"] == "array":
        return Sequence[type_of(schema["items"])]  # type: ignore[misc]
    return {"integer": int, "number": float}[schema["type"]]


@pytest.mark.parametrize("schedule", get_args(settings.Schedule), ids=lambda schedule: schedule.__name__)
def test_a_schedules_type_has_the_contracts_settings(schedule: Any) -> None:
    types = get_type_hints(schedule)
    [kind] = get_args(types.pop("kind"))
    expected = contract.SCHEDULES[kind]
    assert schedule.__required_keys__ == {"kind", *expected["required"]}
    assert types == {name: type_of(schema) for name, schema in expected["settings"].items()}


def test_every_schedule_has_a_type() -> None:
    kinds = [get_args(get_type_hints(schedule)["kind"])[0] for schedule in get_args(settings.Schedule)]
    assert sorted(kinds) == sorted(contract.SCHEDULES)


def test_a_new_session_takes_every_setting() -> None:
    assert CREATION.keys() - {"optimizer", "hyperparameters"} == settings.FIELDS


def test_a_change_takes_every_setting_that_may_change() -> None:
    assert Changes.__annotations__.keys() - Hyperparameters.__annotations__ == CHANGEABLE.keys() - {"hyperparameters"}


def test_a_session_has_every_setting() -> None:
    assert {field.name for field in fields(EffectiveSettings)} == CREATION.keys()


def test_a_group_takes_what_stands_beside_its_hyperparameters() -> None:
    assert Group.__annotations__.keys() - Hyperparameters.__annotations__ == set(BESIDE)


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_setting_has_the_services_type(name: str) -> None:
    expected = TYPES[name] | None if CREATION[name].changeable else TYPES[name]
    assert get_type_hints(Settings)[name] == expected


@pytest.mark.parametrize("name", sorted({name for rule in RULES for name in rule}))
def test_a_hyperparameter_has_the_types_of_all_optimizers(name: str) -> None:
    expected = reduce(or_, [rule[name] for rule in RULES if name in rule])
    assert get_type_hints(Hyperparameters)[name] == expected | None


def test_no_hyperparameter_is_left_over() -> None:
    assert Hyperparameters.__annotations__.keys() == {name for rule in RULES for name in rule}
