"""The OpenAPI schema: it is valid and complete, its examples work, and every error has one."""

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
from tests.service.calls import create, path_of, stepped, summary_of

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
    "takeStep": ("POST", "/v1/sessions/{session_id}/steps"),
    "getParams": ("GET", "/v1/sessions/{session_id}/params"),
    "putParams": ("PUT", "/v1/sessions/{session_id}/params"),
    "getState": ("GET", "/v1/sessions/{session_id}/state"),
    "putState": ("PUT", "/v1/sessions/{session_id}/state"),
    "editTensors": ("PATCH", "/v1/sessions/{session_id}/tensors"),
    "getHistory": ("GET", "/v1/sessions/{session_id}/history"),
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


def example_of(name: str) -> Any:
    return OPERATIONS[name][2]["requestBody"]["content"][JSON]["example"]


def answer_of(name: str, status: int = 200) -> Any:
    return OPERATIONS[name][2]["responses"][str(status)]["content"][JSON]["example"]


def shape_of(value: Any) -> Any:
    """Return the keys of nested objects."""
    if isinstance(value, dict):
        return {key: shape_of(inner) for key, inner in value.items()}
    return [shape_of(inner) for inner in value[:1]] if isinstance(value, list) else None


def session_at_step_41(client: Client, **settings: Any) -> str:
    session = create(client, on_other_params="accept", **settings)
    example = example_of("takeStep")
    for number in range(1, 42):
        stepped(client, session, step=number, params=example["params"], grads=example["grads"])
    return session


class TestExample:
    def test_of_creating_and_changing_a_session_works(self, client: Client) -> None:
        created = client.post("/v1/sessions", json=example_of("createSession"))
        assert created.status_code == 201
        assert created.json().keys() == answer_of("createSession", 201).keys()
        changed = client.patch(path_of(created), json=example_of("updateSession"))
        assert changed.status_code == 200
        assert changed.json().keys() == answer_of("updateSession").keys()
        listed = client.get("/v1/sessions").json()
        assert listed.keys() == answer_of("listSessions").keys()
        assert listed["sessions"] == [summary_of(changed.json(), 0)]

    def test_of_a_step_works_and_has_the_answers_shape(self, client: Client) -> None:
        session = session_at_step_41(client)
        header = next(p for p in OPERATIONS["takeStep"][2]["parameters"] if p["name"] == "Idempotency-Key")
        headers = {"idempotency-key": header["example"]}
        answer = client.post(f"{session}/steps", json=example_of("takeStep"), headers=headers)
        assert answer.status_code == 200
        assert shape_of(answer.json()) == shape_of(answer_of("takeStep"))
        rows = client.get(f"{session}/history?after=41").json()
        assert shape_of(rows) == shape_of(answer_of("getHistory"))

    def test_of_a_first_step_has_the_computed_numbers(self, client: Client) -> None:
        answer = stepped(client, create(client), **{**example_of("takeStep"), "step": 1})
        documented = answer_of("takeStep")
        assert answer["params"] == documented["params"]
        for name, value in documented["metrics"].items():
            assert answer["metrics"][name] == pytest.approx(value, rel=1e-4)

    def test_of_a_session_equals_a_real_one(self, client: Client) -> None:
        session = create(client, hyperparameters={"lr": 0.001})
        w = {"w": example_of("takeStep")["params"]["w"]}
        params = w
        for _ in range(41):
            params = stepped(client, session, params=params, grads=w)["params"]
        found, documented = client.get(session).json(), answer_of("getSession")
        for part in documented.keys() - {"id", "digest", "created_at", "updated_at"}:
            assert found[part] == documented[part]
        assert len(found["id"]) == len(documented["id"])
        assert len(found["digest"]) == len(documented["digest"])

    def test_of_held_parameters_works(self, client: Client) -> None:
        session = create(client, hold_params=True)
        assert client.put(f"{session}/params", json=example_of("putParams")).status_code == 204
        assert client.get(f"{session}/params").json() == answer_of("getParams")

    def test_of_editing_tensors_works(self, client: Client) -> None:
        session = session_at_step_41(client)
        answer = client.patch(f"{session}/tensors", json=example_of("editTensors"))
        assert answer.status_code == 200
        assert list(answer.json()["tensors"]) == ["head.w"]
        assert shape_of(answer.json()).keys() == shape_of(answer_of("editTensors")).keys()

    def test_of_health_equals_the_answers(self, client: Client) -> None:
        assert client.get("/livez").json() == answer_of("getLiveness")
        assert client.get("/readyz").json() | {"store": "lmdb"} == answer_of("getReadiness")
