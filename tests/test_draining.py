"""The drain: a process that was told to stop says so to balancers, and serves on for a while."""

import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.durability.processes import ServerProcess, servers

SECONDS = 1


@pytest.fixture(params=[1, 2])
def draining(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServerProcess]:
    """Yield a server of one process and of two, just told to stop."""
    options = [f"--drain-seconds={SECONDS}"]
    with servers([f"lmdb:{tmp_path / 'store'}"], tmp_path, request.param, options) as (server,):
        server.terminate()
        deadline = time.monotonic() + 10
        while server.is_ready():
            assert time.monotonic() < deadline
        time.sleep(0.1)  # the other process is told a moment later
        yield server


def test_a_draining_service_serves_on_and_then_stops(draining: ServerProcess) -> None:
    started = time.monotonic()
    assert asked(draining, "GET", "/readyz") == (503, "overloaded")
    assert asked(draining, "POST", "/v1/sessions", b'{"optimizer": "adam"}')[0] == 201
    assert draining.wait() == 0
    assert time.monotonic() - started > SECONDS / 2


def test_a_second_signal_ends_a_drain(tmp_path: Path) -> None:
    with servers(["memory:"], tmp_path, options=["--drain-seconds=60"]) as (server,):
        for is_ready in (True, False):
            assert server.is_ready() == is_ready
            server.terminate()
            time.sleep(0.1)
        assert server.wait() == 0


def asked(server: ServerProcess, method: str, path: str, body: bytes = b"") -> tuple[int, str | None]:
    """Return the status of an answer on a new connection, and the code of a refusal."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, body, {"content-type": "application/json"})
    answer = connection.getresponse()
    document = json.loads(answer.read())
    connection.close()
    return answer.status, document.get("code")
