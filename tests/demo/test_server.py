"""The server process of the demo: it starts, is frozen and killed, and leaves nothing."""

import shutil
import sys
from pathlib import Path

import pytest
from optim_client import Client

from app.demo.server import Server, ServerFailed


def test_a_server_that_cannot_start_is_quoted(monkeypatch: pytest.MonkeyPatch, temporary: Path) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(ServerFailed, match="the server ended with status 1; it said nothing"):
        Server().__enter__()


@pytest.mark.long
def test_a_killed_server_returns_with_its_sessions(temporary: Path) -> None:
    with Server() as server, Client(server.url) as client:
        session = client.sessions.create("sgd", lr=0.1)
        server.kill()
        server.start()
        assert client.sessions.get(session.id).info == session.info


@pytest.mark.long
def test_a_paused_server_answers_after_it_is_resumed(temporary: Path) -> None:
    with Server() as server, Client(server.url, timeout=0.5, max_retries=0) as client:
        server.pause()
        assert not client.ready()
        server.resume()
        assert client.with_options(timeout=30).ready()
