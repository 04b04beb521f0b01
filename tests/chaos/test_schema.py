"""Requests that schemathesis makes of the schema, good and bad ones: each answer is what the schema says of it."""

from typing import Any, TypeAlias

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies
from hypothesis import seed as seeded
from schemathesis import APIOperation, Case, GenerationMode
from schemathesis.specs.openapi.checks import positive_data_acceptance

from app.main import create_app
from app.settings import Settings
from tests.chaos.trial import Trial
from tests.service.sockets import listening

Operation: TypeAlias = APIOperation[Any, Any, Any, Any]

NOT_MEANT = [positive_data_acceptance]
"""A schema cannot say all that a session refuses: which tensors it has, or that each gradient needs its parameter."""


@pytest.mark.requirement("R10")
def test_answers_match_the_schema(trial: Trial) -> None:
    app = create_app(Settings(store="memory:"))
    schema = schemathesis.openapi.from_dict(app.openapi())
    with listening(app) as (host, port), requests.Session() as client:
        for found in schema.get_all_operations():
            for mode in modes(found.ok()):
                ask(found.ok(), mode, client, f"http://{host}:{port}", trial)
    assert trial.tried["answers 2xx"]
    assert trial.tried["answers 4xx"]


def modes(operation: Operation) -> list[GenerationMode]:
    """Bad requests are there where the schema leaves something to be wrong: a member of a JSON body, a query."""
    about = operation.definition.raw
    has_json = "application/json" in about.get("requestBody", {}).get("content", {})
    has_query = any(parameter["in"] == "query" for parameter in about.get("parameters", ()))
    return list(GenerationMode) if has_json or has_query else [GenerationMode.POSITIVE]


def ask(operation: Operation, mode: GenerationMode, client: requests.Session, url: str, trial: Trial) -> None:
    """Requests of one kind, nine of ten to a session that is there."""
    session = client.post(f"{url}/v1/sessions", json={"optimizer": "adamw", "hold_params": True}).json()["id"]

    @seeded(trial.random.randrange(1 << 32))
    @settings(
        max_examples=trial.times(quick=5, whole=200),
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(operation.as_strategy(generation_mode=mode), strategies.integers(0, 9))
    def is_answered_as_the_schema_says(case: Case, chance: int) -> None:
        if "session_id" in case.path_parameters and chance:
            case.path_parameters["session_id"] = session
        if mode is GenerationMode.NEGATIVE:
            case.headers.pop("If-Match", None)  # a 412 refuses as well, but is not counted as a refusal of bad data
        answer = case.call(base_url=url, session=client)
        trial.tried["requests"] += 1
        trial.tried[f"answers {answer.status_code // 100}xx"] += 1
        case.validate_response(answer, excluded_checks=NOT_MEANT)

    is_answered_as_the_schema_says()
