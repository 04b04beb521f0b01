"""Valid and invalid requests that schemathesis generates: each answer must match the schema."""

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
from tests.web.sockets import listening

Operation: TypeAlias = APIOperation[Any, Any, Any, Any]

NOT_MEANT = [positive_data_acceptance]
"""A schema cannot express all refusals: the tensors of a session, or the parameter that each gradient needs."""


@pytest.mark.requirement("R10")
@pytest.mark.long
def test_answers_match_the_schema(trial: Trial) -> None:
    app = create_app(Settings(store="memory:"))
    schema = schemathesis.openapi.from_dict(app.openapi())
    with listening(app) as (host, port), requests.Session() as client:
        for operation in (found.ok() for found in schema.get_all_operations()):
            if operation.path.endswith("/events"):
                continue  # its answer has no end: tests/service/test_events.py
            for mode in modes(operation):
                ask(operation, mode, client, f"http://{host}:{port}", trial)
    assert trial.tried["answers 2xx"]
    assert trial.tried["answers 4xx"]


def modes(operation: Operation) -> list[GenerationMode]:
    """Return the modes of an operation. Invalid requests need a JSON body or a query to be wrong in."""
    about = operation.definition.raw
    has_json = "application/json" in about.get("requestBody", {}).get("content", {})
    has_query = any(parameter["in"] == "query" for parameter in about.get("parameters", ()))
    return list(GenerationMode) if has_json or has_query else [GenerationMode.POSITIVE]


def ask(operation: Operation, mode: GenerationMode, client: requests.Session, url: str, trial: Trial) -> None:
    """Send requests of one operation and mode, nine of ten to an existing session."""
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
            case.headers.pop("If-Match", None)  # a 412 does not count as a refusal of bad data
        answer = case.call(base_url=url, session=client)
        trial.tried["requests"] += 1
        trial.tried[f"answers {answer.status_code // 100}xx"] += 1
        case.validate_response(answer, excluded_checks=NOT_MEANT)

    is_answered_as_the_schema_says()
