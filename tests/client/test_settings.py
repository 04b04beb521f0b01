"""The settings of a session: their types, and their places in a request."""

import json
from typing import Any, get_args, get_type_hints

import numpy as np
import pytest
from optim_client import _calls, settings

from optim_engine import OPTIMIZERS
from tests import contract


def sent(settings: Any) -> Any:
    request = _calls.create("adamw", settings).request
    assert request.headers["content-type"] == "application/json"
    assert isinstance(request.body, bytes)
    return json.loads(request.body)


def test_hyperparameters_are_gathered_and_the_requests_own_fields_are_not() -> None:
    fields = {
        "groups": [], "schedule": {"kind": "constant"}, "clip": {"global_norm": 1.0}, "on_non_finite": "skip",
        "hold_params": True, "wire_dtype": "float16", "ttl_seconds": 60, "labels": {"run": "1"},
        "on_other_params": "reject",
    }  # fmt: skip
    assert sent({**fields, "lr": 0.1, "betas": (0.9, 0.99)}) == {
        "optimizer": "adamw",
        "hyperparameters": {"lr": 0.1, "betas": [0.9, 0.99]},
        **fields,
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
    with pytest.raises(TypeError, match="unknown type of setting"):
        sent({"lr": object()})
    with pytest.raises(ValueError, match="not JSON compliant"):
        sent({"lr": float("nan")})


def test_every_optimizer_has_a_type() -> None:
    assert sorted(get_args(settings.Optimizer)) == sorted(OPTIMIZERS)


@pytest.mark.parametrize("schedule", get_args(settings.Schedule), ids=lambda schedule: schedule.__name__)
def test_a_schedules_type_has_the_contracts_settings(schedule: Any) -> None:
    types = get_type_hints(schedule)
    [kind] = get_args(types.pop("kind"))
    expected = contract.SCHEDULES[kind]
    assert schedule.__required_keys__ == {"kind", *expected["required"]}
    assert types == {
        name: {"integer": int, "number": float}[schema["type"]] for name, schema in expected["settings"].items()
    }


def test_every_schedule_has_a_type() -> None:
    kinds = [get_args(get_type_hints(schedule)["kind"])[0] for schedule in get_args(settings.Schedule)]
    assert sorted(kinds) == sorted(contract.SCHEDULES)
