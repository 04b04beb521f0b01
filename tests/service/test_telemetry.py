"""What can be seen from outside: request ids, one log line a request, and nothing in it that is secret or long."""

import json
import logging
from collections.abc import Iterator
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpx2 import Client

from app.logs import LOGGERS, configure_logs
from app.main import create_app
from app.settings import Settings
from app.store.base import Head
from app.store.memory import MemoryStore
from tests.service.calls import W, binary_step, create, problem, serving, step, stepped
from tests.service.sockets import Wire, listening, post
from tests.service.test_auth import row
from tests.service.test_errors import Connection


class Logs:
    """What the service writes to standard error."""

    def __init__(self) -> None:
        self._stream = StringIO()

    def configure(self, level: str, form: str) -> None:
        with redirect_stderr(self._stream):
            configure_logs(level, form)

    def text(self) -> str:
        """All that was written since it was last asked for."""
        text = self._stream.getvalue()
        self._stream.seek(0)
        self._stream.truncate()
        return text

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@pytest.fixture
def logs() -> Iterator[Logs]:
    """Every line, as JSON."""
    logs, loggers = Logs(), [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.level, logger.propagate) for logger in loggers]
    logs.configure("debug", "json")
    yield logs
    for logger, (level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = [], propagate
        logger.setLevel(level)


@pytest.mark.parametrize("name", ["a", "01hxyz", "5f0c:b-1.2_3", "x" * 128])
def test_a_request_keeps_the_id_that_it_came_with(client: Client, name: str) -> None:
    for path in ("/livez", "/v1/sessions", "/nowhere"):
        assert client.get(path, headers={"x-request-id": name}).headers["x-request-id"] == name


@pytest.mark.parametrize("name", [b"", b"x" * 129, b"a b", b'{"a": 1}', "ü".encode(), b"a\tb", b"a/b"])
def test_an_id_that_is_unfit_for_a_log_is_replaced(client: Client, name: bytes) -> None:
    answer = client.get("/livez", headers={b"x-request-id": name})
    assert answer.headers["x-request-id"] != name.decode("latin-1")
    assert len(answer.headers["x-request-id"]) == 32


def test_every_answer_has_an_id_of_its_own(client: Client) -> None:
    session = create(client)
    answers = [
        client.get(session), client.get("/livez"), client.get("/nowhere"), client.put("/livez"), client.get("/docs"),
        client.get("/openapi.json"), client.get("/metrics"), step(client, session, **W), client.delete(session),
        client.get(session), client.post("/v1/sessions", content=b"{"), client.get("/v1/sessions?limit=0"),
    ]  # fmt: skip
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == len(answers)


def test_a_request_is_one_line_with_its_route_and_its_id(client: Client, logs: Logs) -> None:
    session = create(client)
    logs.text()
    answer = step(client, session, **W)
    (line,) = logs.lines()
    assert line.pop("timestamp").endswith("Z")
    assert 0 < line.pop("ms") < 60_000
    assert line == {
        "event": "request", "level": "info", "method": "POST", "route": "/v1/sessions/{session_id}/steps",
        "status": 200, "request_id": answer.headers["x-request-id"],
    }  # fmt: skip


def test_a_look_at_the_health_is_logged_for_who_debugs(client: Client, logs: Logs) -> None:
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


def test_a_crash_inside_is_a_problem_whose_id_leads_to_its_trace(logs: Logs) -> None:
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
def test_no_key_is_in_the_trace_of_a_crash(logs: Logs, form: str, tmp_path: Path) -> None:
    logs.configure("debug", form)
    file = tmp_path / "keys"
    file.write_text(json.dumps({"keys": [row("api-secret")]}))
    with serving(BrokenStore(10), api_keys_file=file) as client:
        answer = client.get("/v1/sessions/0", headers={"authorization": "Bearer api-secret"})
        problem(answer, 500, "internal_error")
    said = logs.text()
    assert "ZeroDivisionError: deep inside" in said
    assert "api-secret" not in said


def test_the_service_goes_on_after_a_crash(client: Client) -> None:
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


async def test_an_answer_that_breaks_off_is_not_begun_anew(logs: Logs) -> None:
    app = create_app(Settings(store="memory:"))
    body = {"type": "http.request", "body": b'{"optimizer": "sgd"}', "more_body": False}
    connection = LostConnection(body, headers={"content-type": "application/json"})
    with pytest.raises(ConnectionResetError):
        await connection.ask(app)
    assert [message["type"] for message in connection.sent].count("http.response.start") == 1
    assert "gone" in logs.lines()[0]["exception"]


def test_text_for_people_has_the_same_in_a_line(client: Client, logs: Logs) -> None:
    logs.configure("info", "console")
    answer = client.get("/v1/sessions", headers={"x-request-id": "mine"})
    assert answer.status_code == 200
    (line,) = logs.text().splitlines()
    for part in ("request", "GET", "/v1/sessions", "200", "mine"):
        assert part in line


@pytest.mark.parametrize(("level", "seen"), [("debug", 2), ("info", 1), ("warning", 0), ("error", 0)])
def test_the_least_that_is_logged_is_a_setting(client: Client, logs: Logs, level: str, seen: int) -> None:
    logs.configure(level, "json")
    client.get("/livez")
    client.get("/v1/sessions")
    assert len(logs.lines()) == seen


def test_a_request_that_is_not_done_when_the_service_stops_is_answered_with_the_way_out() -> None:
    app = create_app(Settings(store="memory:"))
    with listening(app) as address:  # until it has waited for a second
        wire = Wire(address)
        wire.send(post("/v1/sessions", b"half of it", content_type="application/json", expect="100-continue")[:-5])
        assert wire.answer() == (100, b"")
    with wire:
        status, body = wire.answer()
    assert (status, json.loads(body)["code"]) == (503, "overloaded")
    assert "send the request again" in json.loads(body)["detail"]
