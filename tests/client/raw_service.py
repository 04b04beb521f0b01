"""Handlers that answer in the service's place, and calls to them."""

import json
import socket
from typing import Any

import numpy as np

from tests.client.documents import SESSION, stepped
from tests.client.raw import Handler, RawServer, answer, answers, read_head

SESSION_BYTES = answer(json.dumps(SESSION).encode())
LARGE = {"w": np.arange(5_000_000, dtype=np.float32)}


def step_answer(params: Any, step: int = 42) -> bytes:
    return answer(bytes(stepped(params, step=step).body))


def named(link: socket.socket) -> None:
    """Answer each request with the session that it asks for."""
    while True:
        path = read_head(link).split()[1].decode()
        link.sendall(answer(json.dumps({**SESSION, "id": path.rpartition("/")[2]}).encode()))


def session_then(handler: Handler) -> Handler:
    """Return a handler that answers with the session, and leaves the step on the same connection to another handler."""

    def handle(link: socket.socket) -> None:
        answers(SESSION_BYTES)(link)
        handler(link)

    return handle


def get(client: Any, session_id: str = "s-1") -> str:
    return str(client.sessions.get(session_id).id)


def assert_next_call_is_answered(client: Any, server: RawServer) -> None:
    """Check that the next call opens a connection: the rest of a failed one is no answer."""
    before = server.connections
    assert get(client, "next") == "next"
    assert server.connections == before + 1


def read_only_the_head(link: socket.socket) -> None:
    read_head(link)
