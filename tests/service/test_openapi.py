"""The schema: valid, whole, and true: its examples work, and no call can be brought to an answer that it lacks."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import httpx2
import pytest
from httpx2 import Client
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate
from optim_client._tensors import encode

from app.errors import ERRORS, ServiceError, StateDamaged, StoreUnavailable
from app.main import create_app
from app.settings import Settings
from app.store.base import Head, Save, VersionConflict
from app.store.memory import MemoryStore
from tests.service.calls import SAFETENSORS, create, problem, serving, stepped

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
    "getHistory": ("GET", "/v1/sessions/{session_id}/history"),
    "getLiveness": ("GET", "/livez"),
    "getReadiness": ("GET", "/readyz"),
    "getMetrics": ("GET", "/metrics"),
}


def check(value: Any, schema: Mapping[str, Any]) -> None:
    """The value is what that schema of the document says."""
    validator(json.dumps(schema)).validate(value)


@cache
def validator(schema: str) -> Draft202012Validator:
    return Draft202012Validator({**json.loads(schema), "components": SCHEMA["components"]})


def check_answer(operation: Any, answer: httpx2.Response) -> None:
    """The answer's status, form, content and (of an error) code are in the schema."""
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


def test_every_call_of_the_contract_is_there_and_no_other() -> None:
    assert {name: (method, path) for name, (method, path, _) in OPERATIONS.items()} == CONTRACT


@pytest.mark.parametrize("name", CONTRACT)
class TestEachOperation:
    def test_says_what_it_does(self, name: str) -> None:
        operation = OPERATIONS[name][2]
        for words in ("summary", "description"):
            assert operation[words]
        assert operation["tags"]

    def test_has_an_example_of_what_is_sent_and_answered(self, name: str) -> None:
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


def test_every_error_belongs_to_some_call_or_to_no_path_at_all() -> None:
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
    """The keys of objects, in and in."""
    if isinstance(value, dict):
        return {key: shape_of(inner) for key, inner in value.items()}
    return [shape_of(inner) for inner in value[:1]] if isinstance(value, list) else None


def session_at_step_41(client: Client, **settings: Any) -> str:
    session = create(client, **settings)
    example = example_of("takeStep")
    for number in range(1, 42):
        stepped(client, session, step=number, params=example["params"], grads=example["grads"])
    return session


class TestExamples:
    def test_of_creating_and_changing_a_session_work(self, client: Client) -> None:
        created = client.post("/v1/sessions", json=example_of("createSession"))
        assert created.status_code == 201
        assert created.json().keys() == answer_of("createSession", 201).keys()
        changed = client.patch(created.headers["location"], json=example_of("updateSession"))
        assert changed.status_code == 200
        assert changed.json().keys() == answer_of("updateSession").keys()
        listed = client.get("/v1/sessions").json()
        assert listed.keys() == answer_of("listSessions").keys()
        assert listed["sessions"] == [changed.json()]

    def test_of_a_step_work_and_lead_to_the_numbers_that_stand_there(self, client: Client) -> None:
        session = session_at_step_41(client)
        header = next(p for p in OPERATIONS["takeStep"][2]["parameters"] if p["name"] == "Idempotency-Key")
        headers = {"idempotency-key": header["example"]}
        answer = client.post(f"{session}/steps", json=example_of("takeStep"), headers=headers)
        assert answer.status_code == 200
        assert shape_of(answer.json()) == shape_of(answer_of("takeStep"))
        rows = client.get(f"{session}/history?after=41").json()
        assert shape_of(rows) == shape_of(answer_of("getHistory"))

    def test_of_a_session_s_first_step_are_computed_as_they_stand_there(self, client: Client) -> None:
        answer = stepped(client, create(client), **{**example_of("takeStep"), "step": 1})
        documented = answer_of("takeStep")
        assert answer["params"] == documented["params"]
        for name, value in documented["metrics"].items():
            assert answer["metrics"][name] == pytest.approx(value, rel=1e-4)

    def test_of_a_session_has_the_parts_that_a_session_has(self, client: Client) -> None:
        session = create(client, hyperparameters={"lr": 0.001})
        w = {"w": example_of("takeStep")["params"]["w"]}
        for _ in range(41):
            stepped(client, session, params=w, grads=w)
        found, documented = client.get(session).json(), answer_of("getSession")
        for part in documented.keys() - {"id", "digest", "created_at", "updated_at"}:
            assert found[part] == documented[part]
        assert len(found["id"]) == len(documented["id"])
        assert len(found["digest"]) == len(documented["digest"])

    def test_of_held_parameters_work(self, client: Client) -> None:
        session = create(client, hold_params=True)
        assert client.put(f"{session}/params", json=example_of("putParams")).status_code == 204
        assert client.get(f"{session}/params").json() == answer_of("getParams")

    def test_of_health_are_true(self, client: Client) -> None:
        assert client.get("/livez").json() == answer_of("getLiveness")
        assert client.get("/readyz").json() | {"store": "lmdb"} == answer_of("getReadiness")


class Troubled(MemoryStore):
    """Fails with `error` at the verbs that are named."""

    error: Exception | None = None
    verbs: tuple[str, ...] = ()

    def _maybe(self, verb: str) -> None:
        if self.error and verb in self.verbs:
            raise self.error

    async def ping(self) -> None:
        self._maybe("ping")

    async def load(self, session_id: str) -> Head | None:
        self._maybe("load")
        return await super().load(session_id)

    async def read(self, head: Head, into: memoryview) -> None:
        self._maybe("read")
        await super().read(head, into)

    async def save(self, change: Save) -> None:
        self._maybe("save")
        await super().save(change)

    async def history(self, session_id: str, after: int, limit: int) -> list[bytes]:
        self._maybe("history")
        return await super().history(session_id, after, limit)

    async def list(self, tenant: str, limit: int, before: str | None = None) -> list[Head]:
        self._maybe("list")
        return await super().list(tenant, limit, before)


ALL = ("ping", "load", "read", "save", "list", "history")
TROUBLES: list[tuple[Exception, tuple[str, ...]]] = [
    (StoreUnavailable("away"), ALL),
    (StateDamaged("damaged"), ("load", "read", "list")),
    (VersionConflict(), ("read", "save")),
    (RuntimeError("a defect"), ALL),
    (ServiceError("a failure"), ALL),
]
STATE = encode({"m": {"w": [1.0]}}, {"session": "{}"})
BODIES: list[tuple[str, bytes]] = [
    (media_type, content)
    for media_type in (JSON, SAFETENSORS, "text/plain")
    for content in (b"", b"{}", b"[]", b"{", b" " * 2000, STATE)
] + [
    (JSON, json.dumps(document).encode())
    for document in (
        {"params": {"w": [1]}, "grads": {"w": [1]}, "step": 1},
        {"params": {"w": [1]}, "grads": {"w": [1]}, "step": 9},
        {"params": {"w": [1, 2]}, "grads": {"w": [1, 2]}},
        {"grads": {"w": {"dtype": "float32", "shape": [1], "base64": "AADAfw=="}}, "params": {"w": [1]}},
        {"grads": {"w": [1]}},
        {"params": {"w": [1]}},
        {"params": {"w": [1, 2]}},
        {"hyperparameters": {"amsgrad": True}},
        {"optimizer": "adamw", "hyperparameters": {"lr": -1}},
    )
]
HEADERS: list[dict[str, str]] = [
    {},
    {"accept": "text/html"},
    {"accept": SAFETENSORS},
    {"idempotency-key": '"'},
    {"idempotency-key": '"first"'},
    {"content-encoding": "gzip"},
    {"if-none-match": "*"},
]


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    rows = [
        {"sha256": hashlib.sha256(role.encode()).hexdigest(), "tenant": "lab", "role": role}
        for role in ("read", "write")
    ]
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": rows}))
    return file


def requests(method: str) -> Iterator[dict[str, Any]]:
    """What a client may send, right and wrong."""
    for headers in HEADERS:
        yield {"headers": headers}
    for query in ("limit=0", "limit=1", "cursor=0", "after=-5"):
        yield {"params": query}
    if method not in ("GET", "DELETE"):
        for media_type, content in BODIES:
            for headers in HEADERS if content.startswith(b'{"params": {"w": [1]}, "grads"') else HEADERS[:1]:
                yield {"content": content, "headers": {"content-type": media_type, **headers}}


HOLDING = ("takeStep", "getParams", "putParams", "getState", "putState")


@pytest.mark.parametrize(("name", "hold"), [(name, False) for name in CONTRACT] + [(name, True) for name in HOLDING])
def test_no_call_can_be_brought_to_an_answer_that_its_schema_lacks(name: str, hold: bool, keys_file: Path) -> None:
    method, path, operation = OPERATIONS[name]
    store = Troubled(10)
    with serving(store, api_keys_file=keys_file, max_body_bytes=1024, state_cache_bytes=0) as client:
        client.headers["authorization"] = "Bearer write"
        session = create(client, hold_params=hold)
        stepped(client, session, "first", params={"w": [1.0]}, grads={"w": [1.0]})
        session_id = session.rpartition("/")[2]
        here, nowhere = path.format(session_id=session_id), path.format(session_id="0" * 32)

        def ask(where: str, **request: Any) -> None:
            if method == "DELETE" and where == here and not store.error:
                return  # at the very end
            check_answer(operation, client.request(method, where, **request))

        for request in requests(method):
            ask(here, **request)
        ask(nowhere)
        for authorization in ("Bearer read", "Bearer nobody"):
            check_answer(operation, client.request(method, here, headers={"authorization": authorization}))
        for store.error, store.verbs in TROUBLES:
            for request in requests(method):
                if request.get("headers", {}).keys() <= {"content-type"}:
                    ask(here, **request)
        store.error = None
        check_answer(operation, client.request(method, here))


@pytest.mark.parametrize("name", [name for name, (_, path) in CONTRACT.items() if path.startswith("/v1")])
def test_every_call_may_be_limited(name: str) -> None:
    method, path, operation = OPERATIONS[name]
    with serving(rate_limit="1/hour") as client:
        client.get("/v1/sessions")
        answer = client.request(method, path.format(session_id="0"))
        problem(answer, 429, "rate_limited")
        check_answer(operation, answer)
