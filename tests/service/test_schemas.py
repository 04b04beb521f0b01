"""The schemas of the OpenAPI document, held against the service that reads and writes such documents."""

import json
import re
from typing import Any

import pytest
from httpx2 import Client
from jsonschema import Draft202012Validator

from app.errors import ERRORS
from app.routes.schemas import components
from app.wire.session_json import CHANGEABLE, CREATION
from optim_engine.optimizers import OPTIMIZERS
from optim_engine.schedules import SCHEDULES
from tests.service.calls import create, patched
from tests.service.test_openapi import SCHEMA

SCHEMAS = components()
OTHER: dict[str, Any] = {
    "hyperparameters": {"lr": 0.5}, "groups": [{"match": ["w"], "lr": 0.1}], "clip": {"value": 1.0},
    "schedule": {"kind": "constant"}, "on_non_finite": "skip", "ttl_seconds": 60.5, "labels": {"run": "1"},
    "on_other_params": "accept", "wire_dtype": "bfloat16", "hold_params": True, "optimizer": "sgd", "undo": 2,
    "average": {"decay": 0.5}, "workers": {"expected": 4},
}  # fmt: skip
"""A value of each setting that is not its default."""


def fits(name: str, document: Any) -> bool:
    """Return whether the document is valid under the schema of that name."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": {"schemas": SCHEMAS}}
    return bool(Draft202012Validator(schema).is_valid(document))


def test_every_schema_is_referred_to_and_every_reference_leads_somewhere() -> None:
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(SCHEMA)))
    assert referred == SCHEMAS.keys() == SCHEMA["components"]["schemas"].keys()


def test_every_setting_has_another_value_here() -> None:
    assert OTHER.keys() == CREATION.keys()


@pytest.mark.parametrize("name", CREATION)
def test_a_setting_that_the_service_takes_fits_the_schema(client: Client, name: str) -> None:
    document = {"optimizer": "adamw", "hold_params": True, name: OTHER[name]}
    answer = client.post("/v1/sessions", json=document)
    assert answer.status_code == 201, answer.text
    assert fits("CreateSession", document)
    assert fits("Session", answer.json())


@pytest.mark.parametrize("name", CREATION)
@pytest.mark.parametrize("value", [{"no": "such"}, "nothing", [1], -1])
def test_a_value_outside_the_schema_is_refused_by_the_service(client: Client, name: str, value: Any) -> None:
    document = {"optimizer": "adamw", name: value}
    if not fits("CreateSession", document):
        assert client.post("/v1/sessions", json=document).status_code == 422


@pytest.mark.parametrize("name", CHANGEABLE)
def test_a_null_in_a_change_restores_the_default(client: Client, name: str) -> None:
    session = create(client, hold_params=True)
    before = client.get(session).json()[name]
    for value in (OTHER[name], None):
        assert fits("UpdateSession", {name: value})
        after = patched(client, session, **{name: value})
        assert fits("Session", after)
        assert (after[name] == before) == (value is None)


def test_a_fixed_setting_is_in_no_change() -> None:
    for name in CREATION.keys() - CHANGEABLE.keys():
        assert not fits("UpdateSession", {name: OTHER[name]})


def test_a_creation_needs_an_optimizer_and_knows_all_members() -> None:
    assert fits("CreateSession", {"optimizer": "adamw"})
    for document in ({}, {"optimizer": None}, {"optimizer": "adamx"}, {"optimizer": "adamw", "lr": 1}, []):
        assert not fits("CreateSession", document)


def test_optimizers_and_schedules_have_a_schema_each() -> None:
    settings = SCHEMAS["CreateSession"]["properties"]
    assert [kind["title"] for kind in settings["hyperparameters"]["anyOf"]] == list(OPTIMIZERS)
    assert [kind.get("title") for kind in settings["schedule"]["oneOf"]] == [*SCHEDULES, None]


def test_a_problem_has_one_of_the_services_codes() -> None:
    assert SCHEMAS["Problem"]["properties"]["code"]["enum"] == sorted(ERRORS)
