"""Telemetry: request ids, one log line a request, and nothing secret or long in it."""

import gc
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpx2 import Client

from app.errors import ServiceError, StateDamaged, StoreUnavailable
from app.main import create_app
from app.settings import Settings
from app.store.base import Head
from app.store.memory import MemoryStore
from app.web.phases import FIELDS
from tests.service.calls import W, binary_step, create, problem, serving, step, stepped
from tests.service.connection import Connection
from tests.service.test_auth import row
from tests.web.logs import Logs
from tests.web.sockets import Wire, listening, post, wait_until


@pytest.mark.parametrize("name", ["a", "01hxyz", "5f0c:b-1.2_3", "x" * 128])
def test_a_request_keeps_the_id_it_came_with(client: Client, name: str) -> None:
    for path in ("/livez", "/v1/sessions", "/nowhere"):
        assert client.get(path, headers={"x-request-id": name}).headers["x-request-id"] == name


@pytest.mark.parametrize("name", [b"", b"x" * 129, b"a b", b'{"a": 1}', "ü".encode(), b"a\tb", b"a/b"])
def test_an_id_unfit_for_a_log_is_replaced(client: Client, name: bytes) -> None:
    answer = client.get("/livez", headers={b"x-request-id": name})
    assert answer.headers["x-request-id"] != name.decode("latin-1")
    assert len(answer.headers["x-request-id"]) == 32


def test_every_answer_has_its_own_id(client: Client) -> None:
    session = create(client)
    answers = [
        client.get(session), client.get("/livez"), client.get("/nowhere"), client.put("/livez"), client.get("/docs"),
        client.get("/openapi.json"), client.get("/metrics"), step(client, session, **W), client.delete(session),
        client.get(session), client.post("/v1/sessions", content=b"{"), client.get("/v1/sessions?limit=0"),
    ]  # fmt: skip
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == len(answers)


def test_a_request_is_logged_in_one_line(client: Client, logs: Logs) -> None:
    session = create(client)
    logs.text()
    answer = step(client, session, **W)
    (line,) = logs.lines()
    assert line.pop("timestamp").endswith("Z")
    assert 0 < line.pop("ms") < 60_000
    assert {name: value for name, value in line.items() if name not in FIELDS} == {
        "event": "request", "level": "info", "method": "POST", "route": "/v1/sessions/{session_id}/steps",
        "status": 200, "tenant": "default", "session": session.rpartition("/")[2],
        "step": 1, "request_id": answer.headers["x-request-id"],
    }  # fmt: skip


def test_the_line_of_a_creation_names_the_session(client: Client, logs: Logs) -> None:
    session = create(client)
    assert logs.lines()[0]["session"] == session.rpartition("/")[2]


def test_the_line_of_a_refusal_has_its_code_alone(client: Client, logs: Logs) -> None:
    session = create(client)
    logs.text()
    step(client, session, **W, step=9)
    client.get("/v1/sessions/0")
    client.get("/v1/sessions/x%0a2026 error event")
    client.get("/nowhere")
    client.get("/v1/sessions?limit=0")
    client.get("/v1/sessions", headers={"host": "evil.example"})
    lines = logs.lines()
    assert [(line["level"], line["code"], line.get("tenant"), "session" in line) for line in lines] == [
        ("info", "step_conflict", "default", True),
        ("info", "session_not_found", "default", False),
        ("info", "session_not_found", "default", False),
        ("info", "route_not_found", None, False),
        ("info", "malformed_query", "default", False),
        ("info", "misdirected", None, False),
    ]
    assert not [line for line in lines if "detail" in line]


def test_a_line_names_the_tenant_of_a_key(logs: Logs, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [row("looks", tenant="lab", role="read")]}))
    with serving(api_keys_file=file, rate_limit="3/hour") as client:
        for _ in range(4):
            client.get("/v1/sessions", headers={"authorization": "Bearer looks"})
        client.post("/v1/sessions", json={}, headers={"authorization": "Bearer looks"})
        client.get("/v1/sessions", headers={"authorization": "Bearer wrong"})
    assert [(line.get("tenant"), line.get("code")) for line in logs.lines()] == [
        *[("lab", None)] * 3, ("lab", "rate_limited"), ("lab", "forbidden"), (None, "unauthenticated"),
    ]  # fmt: skip


class AwayStore(MemoryStore):
    """Cannot be reached, or is damaged."""

    error: Exception = StateDamaged("piece 0 is not what was written")

    async def load(self, session_id: str) -> Head | None:
        raise self.error

    async def ping(self) -> None:
        raise self.error

    async def is_listed(self, tenant: str, session_id: str) -> bool:
        return True


def unreachable() -> Exception:
    """Return the error of a store whose connection is refused."""
    try:
        raise ConnectionRefusedError(111, "connection refused")
    except OSError as error:
        away = StoreUnavailable("the store does not answer")
        away.__cause__ = error
        return away


@pytest.mark.parametrize("path", ["/v1/sessions/0", "/readyz"])
def test_a_503_is_a_warning_with_its_cause(logs: Logs, path: str) -> None:
    store = AwayStore(10)
    store.error = unreachable()
    with serving(store) as client:
        problem(client.get(path), 503, "store_unavailable")
    (line,) = logs.lines()
    assert (line["level"], line["status"], line["code"]) == ("warning", 503, "store_unavailable")
    assert line["detail"] == "the store does not answer"
    assert line["cause"] == "ConnectionRefusedError: [Errno 111] connection refused"


def test_a_500_is_an_error_with_its_detail(logs: Logs) -> None:
    with serving(AwayStore(10)) as client:
        problem(client.get(f"/v1/sessions/{'0' * 32}/params"), 500, "state_damaged")
    (line,) = logs.lines()
    assert (line["level"], line["code"]) == ("error", "state_damaged")
    assert line["detail"] == "piece 0 is not what was written"
    assert line["session"] == "0" * 32


@pytest.mark.long
def test_a_refused_request_is_freed_without_garbage_collection(client: Client) -> None:
    session = create(client)
    gc.collect()
    gc.disable()
    try:
        before = errors_in_memory()
        for _ in range(3):
            problem(step(client, session, **W, step=9), 409, "step_conflict")
            problem(client.get("/nowhere"), 404, "route_not_found")
            problem(client.get("/v1/sessions", headers={"host": "evil.example"}), 421, "misdirected")
        assert errors_in_memory() == before
    finally:
        gc.enable()


@pytest.mark.long
def test_a_refused_large_body_is_freed_without_garbage_collection(client: Client) -> None:
    session = create(client)
    numbers = "0," * (1 << 16)
    gc.collect()
    gc.disable()
    try:
        before = errors_in_memory()
        for text in (f'{{"grads":{{"w":[{numbers}""]}}}}', f'{{"grads":{{"w":[{numbers}0]}},"params":{{}}}}', numbers):
            answer = client.post(f"{session}/steps", content=text, headers={"content-type": "application/json"})
            assert answer.status_code in (400, 422)
        wait_until(lambda: errors_in_memory() <= before, errors_in_memory)  # a thread may still end
    finally:
        gc.enable()


def errors_in_memory() -> int:
    return sum(isinstance(thing, ServiceError) for thing in gc.get_objects())


def test_health_checks_are_logged_at_debug_level(client: Client, logs: Logs) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        client.get(path)
    assert [(line["route"], line["level"]) for line in logs.lines()] == [
        ("/livez", "debug"), ("/readyz", "debug"), ("/metrics", "debug"),
    ]  # fmt: skip


def test_no_key_no_body_and_no_array_is_logged(logs: Logs, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [row("api-secret")]}))
    with serving(api_keys_file=file) as client:
        client.headers["authorization"] = "Bearer api-secret"
        session = create(client, labels={"run": "label-secret"})
        marked = {"params": {"w": [123456.75]}, "grads": {"w": [123456.75]}, "loss": 654321.5}
        stepped(client, session, "idempotency-secret", **marked)
        step(client, session, "idempotency-secret", **marked, step=9)
        step(client, session, params={"w": [123456.75, 1]}, grads={"w": [123456.75, 1]})
        binary_step(client, session, {"w": np.float32([np.nan])}, {"w": np.float32([123456.75])})
        client.post(f"{session}/steps", content=b"123456.75", headers={"content-type": "application/json"})
        client.get("/v1/sessions?cursor=123456.75")
        client.get("/v1/sessions", headers={"authorization": "Bearer other-secret"})
    text = logs.text()
    assert len(text.splitlines()) >= 8
    for hidden in ("secret", "123456", "654321"):
        assert hidden not in text


class BrokenStore(MemoryStore):
    """Has a defect."""

    async def load(self, session_id: str) -> Head | None:
        raise ZeroDivisionError("deep inside")


def test_a_crash_is_a_problem_whose_id_finds_its_trace(logs: Logs) -> None:
    with serving(BrokenStore(10)) as client:
        answer = client.get("/v1/sessions/0")
        document = problem(answer, 500, "internal_error")
        assert "deep inside" not in answer.text
        assert "request id" in document["detail"]
    crash, request = logs.lines()
    assert crash["request_id"] == request["request_id"] == answer.headers["x-request-id"]
    assert (crash["event"], crash["level"], crash["path"]) == ("request failed", "error", "/v1/sessions/0")
    assert "ZeroDivisionError: deep inside" in crash["exception"]
    assert (request["event"], request["status"]) == ("request", 500)


@pytest.mark.parametrize("form", ["console", "json"])
def test_the_trace_of_a_crash_has_no_key(logs: Logs, form: str, tmp_path: Path) -> None:
    logs.configure("debug", form)
    file = tmp_path / "keys"
    file.write_text(json.dumps({"keys": [row("api-secret")]}))
    with serving(BrokenStore(10), api_keys_file=file) as client:
        answer = client.get("/v1/sessions/0", headers={"authorization": "Bearer api-secret"})
        problem(answer, 500, "internal_error")
    said = logs.text()
    assert "ZeroDivisionError: deep inside" in said
    assert "api-secret" not in said


def test_the_service_continues_after_a_crash(client: Client) -> None:
    with serving(BrokenStore(10)) as broken:
        for _ in range(3):
            problem(broken.get("/v1/sessions/0"), 500, "internal_error")
        assert broken.get("/livez").status_code == 200
    assert client.get("/livez").status_code == 200


class LostConnection(Connection):
    """Breaks when the body is sent."""

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "http.response.body":
            raise ConnectionResetError("gone")


async def test_an_answer_that_breaks_off_is_not_restarted(logs: Logs) -> None:
    app = create_app(Settings(store="memory:"))
    body = {"type": "http.request", "body": b'{"optimizer": "sgd"}', "more_body": False}
    connection = LostConnection(body, headers={"content-type": "application/json"})
    with pytest.raises(ConnectionResetError):
        await connection.ask(app)
    assert [message["type"] for message in connection.sent].count("http.response.start") == 1
    assert "gone" in logs.lines()[0]["exception"]


def test_a_request_cut_short_by_a_stop_is_answered_overloaded() -> None:
    app = create_app(Settings(store="memory:"))
    with listening(app) as address:  # until it has waited for a second
        wire = Wire(address)
        wire.send(post("/v1/sessions", b"half of it", content_type="application/json", expect="100-continue")[:-5])
        assert wire.answer() == (100, b"")
    with wire:
        status, body = wire.answer()
    assert (status, json.loads(body)["code"]) == (503, "overloaded")
    assert "send the request again" in json.loads(body)["detail"]
