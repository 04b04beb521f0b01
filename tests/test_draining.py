"""The drain: a process that was told to stop says so to balancers, and serves on for a while."""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.durability.processes import ServerProcess, servers

SECONDS = 3
LATEST_SECONDS = 10


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_a_draining_service_serves_on_and_then_stops(workers: int, tmp_path: Path) -> None:
    with draining(f"lmdb:{tmp_path / 'store'}", tmp_path, SECONDS, workers) as server:
        started = time.monotonic()
        serves_on(server)
        assert server.wait() == 0
        assert time.monotonic() - started > SECONDS / 2


def test_a_second_signal_ends_a_drain(tmp_path: Path) -> None:
    with draining("memory:", tmp_path, 600) as server:
        serves_on(server)
        server.terminate()
        assert server.wait() == 0


@contextmanager
def draining(store: str, folder: Path, seconds: int, workers: int = 1) -> Iterator[ServerProcess]:
    """Lend a server that was told to stop, and says so."""
    with servers([store], folder, workers, [f"--drain-seconds={seconds}"]) as (server,):
        server.terminate()
        deadline = time.monotonic() + LATEST_SECONDS
        while server.is_ready():
            assert time.monotonic() < deadline
        time.sleep(0.1)  # another process is told a moment later
        yield server


def serves_on(server: ServerProcess) -> None:
    assert asked(server, "GET", "/readyz") == (503, "overloaded")
    assert asked(server, "POST", "/v1/sessions", b'{"optimizer": "adam"}')[0] == 201


def asked(server: ServerProcess, method: str, path: str, body: bytes = b"") -> tuple[int, str | None]:
    """Return the status of an answer on a new connection, and the code of a refusal."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    connection.request(method, path, body, {"content-type": "application/json"})
    answer = connection.getresponse()
    document = json.loads(answer.read())
    connection.close()
    return answer.status, document.get("code")
