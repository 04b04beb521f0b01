"""The client's types of settings, held against the service's tables and the optimizers' hyperparameters."""

from dataclasses import fields
from functools import reduce
from operator import or_
from typing import Any, get_type_hints

import pytest
from optim_client import settings
from optim_client.settings import Changes, EffectiveSettings, Hyperparameters, Settings

from app.session import Session
from app.wire.session_json import CHANGEABLE, CREATION
from optim_engine import OPTIMIZERS, Config

RULES = [get_type_hints(rule.settings) for rule in OPTIMIZERS.values()]
TYPES: dict[str, Any] = get_type_hints(Config) | get_type_hints(Session)
PLAIN = [name for name, row in CREATION.items() if row.schema and name != "optimizer"]


def test_a_new_session_takes_every_setting() -> None:
    assert CREATION.keys() - {"optimizer", "hyperparameters"} == settings.FIELDS


def test_a_change_takes_every_setting_that_may_change() -> None:
    assert Changes.__annotations__.keys() - Hyperparameters.__annotations__ == CHANGEABLE.keys() - {"hyperparameters"}


def test_a_session_has_every_setting() -> None:
    assert {field.name for field in fields(EffectiveSettings)} == CREATION.keys()


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
