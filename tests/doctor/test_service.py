"""The running service: one that is ready, none, one that nobody named, and another program."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from app.demo.server import Server
from app.doctor import service
from app.doctor.finding import Finding

NOWHERE = "http://127.0.0.1:1"


def found(url: str | None) -> dict[str, Finding]:
    return {finding.check: finding for finding in service.examined(url)}


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Server() as server:
        yield server.url


@pytest.mark.long
def test_a_service_that_is_ready_is_well(url: str) -> None:
    findings = found(url)
    assert list(findings) == ["service", "version", "clock", "key"]
    assert {finding.level for finding in findings.values()} == {"ok"}
    assert "store lmdb, kernel n" in findings["service"].found


def test_only_a_named_service_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(NOWHERE)["service"].is_away
    monkeypatch.setattr("optim_client._address.DEFAULT_BASE_URL", NOWHERE)
    assert found(None)["service"].level == "ok"
    monkeypatch.setenv("OPTIM_BASE_URL", NOWHERE)
    assert found(None)["service"].is_away


@pytest.fixture
def other() -> Iterator[tuple[str, dict[str, object]]]:
    """Lend another program that answers all paths, and what it answers."""
    answer: dict[str, object] = {"status": 200, "document": {}, "alive": {"status": "alive"}}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(str(answer["status"] if "ready" in self.path else 200)))
            self.send_header("content-type", "application/json")
            self.end_headers()
            document = answer["document"] if "ready" in self.path else answer["alive"]
            self.wfile.write(json.dumps(document, separators=(",", ":")).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def date_time_string(self, timestamp: float | None = None) -> str:
            return str(answer.get("date", super().date_time_string()))

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", answer
        server.shutdown()


def test_a_store_that_is_away_makes_the_service_not_ready(other: tuple[str, dict[str, object]]) -> None:
    url, answer = other
    answer |= {"status": 503, "document": {"detail": "no disk"}}
    assert "is not ready: no disk" in found(url)["service"].found


def test_another_version_and_a_wrong_clock_are_found(other: tuple[str, dict[str, object]]) -> None:
    url, answer = other
    answer["document"] = {"store": "lmdb", "kernel": "numpy", "version": "9.9.9"}
    answer["date"] = "Sun, 06 Nov 1994 08:49:37 GMT"
    findings = found(url)
    assert findings["version"].found.startswith("9.9.9 there")
    assert findings["clock"].level == "warning"
    assert findings["key"].level == "problem"


def test_another_program_is_told_apart(other: tuple[str, dict[str, object]]) -> None:
    url, answer = other
    answer["alive"] = {"hello": "world"}
    assert list(found(url)) == ["service"]
    assert "is no Optim Service" in found(url)["service"].found
