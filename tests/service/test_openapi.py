"""The OpenAPI schema: it is valid and complete, and every error has an example."""

import json
from collections.abc import Mapping
from functools import cache
from typing import Any

import httpx2
import pytest
from httpx2 import Client
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from app.errors import ERRORS
from app.main import create_app
from app.settings import Settings

JSON, PROBLEM = "application/json", "application/problem+json"
SCHEMA: Any = create_app(Settings(store="memory:")).openapi()
OPERATIONS: dict[str, tuple[str, str, Any]] = {
    operation["operationId"]: (method.upper(), path, operation)
    for path, item in SCHEMA["paths"].items()
    for method, operation in item.items()
}
CONTRACT = {
    "createSession": ("POST", "/v1/sessions"),
    "listSessions": ("GET", "/v1/sessions"),
    "getSession": ("GET", "/v1/sessions/{session_id}"),
    "updateSession": ("PATCH", "/v1/sessions/{session_id}"),
    "deleteSession": ("DELETE", "/v1/sessions/{session_id}"),
    "forkSession": ("POST", "/v1/sessions/{session_id}/fork"),
    "undoStep": ("POST", "/v1/sessions/{session_id}/undo"),
    "joinWorker": ("PUT", "/v1/sessions/{session_id}/workers/{worker}"),
    "listWorkers": ("GET", "/v1/sessions/{session_id}/workers"),
    "leaveWorker": ("DELETE", "/v1/sessions/{session_id}/workers/{worker}"),
    "contribute": ("PUT", "/v1/sessions/{session_id}/rounds/{round_number}/contributions/{worker}"),
    "contributeAsync": ("PUT", "/v1/sessions/{session_id}/contributions/{worker}/{seq}"),
    "getRound": ("GET", "/v1/sessions/{session_id}/rounds/{round_number}"),
    "closeRound": ("POST", "/v1/sessions/{session_id}/rounds/{round_number}/close"),
    "takeStep": ("POST", "/v1/sessions/{session_id}/steps"),
    "previewStep": ("POST", "/v1/sessions/{session_id}/preview"),
    "getParams": ("GET", "/v1/sessions/{session_id}/params"),
    "getRows": ("POST", "/v1/sessions/{session_id}/params/rows"),
    "putParams": ("PUT", "/v1/sessions/{session_id}/params"),
    "getState": ("GET", "/v1/sessions/{session_id}/state"),
    "putState": ("PUT", "/v1/sessions/{session_id}/state"),
    "getTensors": ("GET", "/v1/sessions/{session_id}/tensors"),
    "editTensors": ("PATCH", "/v1/sessions/{session_id}/tensors"),
    "getEvents": ("GET", "/v1/sessions/{session_id}/events"),
    "getHistory": ("GET", "/v1/sessions/{session_id}/history"),
    "listOptimizers": ("GET", "/v1/optimizers"),
    "getLiveness": ("GET", "/livez"),
    "getReadiness": ("GET", "/readyz"),
    "getMetrics": ("GET", "/metrics"),
}


def check(value: Any, schema: Mapping[str, Any]) -> None:
    """Check the value against that schema of the document."""
    validator(json.dumps(schema)).validate(value)


@cache
def validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator({**json.loads(schema), "components": SCHEMA["components"]})


def check_answer(operation: Any, answer: httpx2.Response) -> None:
    """Check that the schema has the answer's status, media type, content and, for an error, its code."""
    documented = operation["responses"].get(str(answer.status_code))
    assert documented, f"{operation['operationId']} answered {answer.status_code}: {answer.text}"
    media_type = answer.headers.get("content-type", "").partition(";")[0]
    contents = documented.get("content", {})
    if answer.content:
        assert media_type in contents
    if media_type in (JSON, PROBLEM):
        check(answer.json(), contents[media_type]["schema"])
    if media_type == PROBLEM:
        assert answer.json()["code"] in contents[PROBLEM]["examples"]


def test_the_schema_is_valid(client: Client) -> None:
    answer = client.get("/openapi.json")
    assert answer.headers["content-type"] == JSON
    assert answer.json() == json.loads(json.dumps(SCHEMA))
    validate(answer.json())


def test_the_schema_has_exactly_the_contracts_operations() -> None:
    assert {name: (method, path) for name, (method, path, _) in OPERATIONS.items()} == CONTRACT


@pytest.mark.parametrize("name", CONTRACT)
class TestEachOperation:
    def test_has_a_summary_a_description_and_tags(self, name: str) -> None:
        operation = OPERATIONS[name][2]
        for words in ("summary", "description"):
            assert operation[words]
        assert operation["tags"]

    def test_has_an_example_of_each_body(self, name: str) -> None:
        operation = OPERATIONS[name][2]
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        bodies += [answer for status, answer in operation["responses"].items() if int(status) < 300]
        for body in bodies:
            for media_type, content in body.get("content", {}).items():
                if media_type == JSON:
                    check(content["example"], content["schema"])

    def test_has_an_example_of_every_error(self, name: str) -> None:
        for status, answer in OPERATIONS[name][2]["responses"].items():
            if int(status) >= 400:
                content = answer["content"][PROBLEM]
                for code, example in content["examples"].items():
                    check(example["value"], content["schema"])
                    assert example["value"]["code"] == code
                    assert f"`{code}`" in answer["description"]
                    assert ERRORS[code].status == int(status)


def test_every_error_belongs_to_an_operation_or_no_path() -> None:
    documented = {
        code
        for _, _, operation in OPERATIONS.values()
        for answer in operation["responses"].values()
        for code in answer.get("content", {}).get(PROBLEM, {}).get("examples", {})
    }
    assert ERRORS.keys() - documented == {"route_not_found", "method_not_allowed"}
