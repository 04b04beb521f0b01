"""Bare HTTP: one kept connection, no retries, the answer's exact bytes."""

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from optim_client._protocol import Request, Response

JSON = {"content-type": "application/json"}
LOST = (OSError, http.client.HTTPException)
"""The exceptions for a lost answer."""


class Wire:
    """A client without retries."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def send(self, request: Request) -> Response:
        try:
            self.connection.request(request.method, request.path, request.body, dict(request.headers))
            response = self.connection.getresponse()
            headers = {name.lower(): value for name, value in response.getheaders()}
            return Response(response.status, headers, response.read())
        except LOST:
            self.close()
            raise

    def ask(self, method: str, path: str, document: object = None, status: int = 200) -> Any:
        """Send a JSON document; return that of the answer."""
        body = b"" if document is None else json.dumps(document).encode()
        response = self.send(Request(method, path, headers=JSON, body=body))
        assert response.status == status, response.body
        return json.loads(response.body)

    def close(self) -> None:
        """Close the connection; the next request opens a new one."""
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def bytes_of(request: Request, **headers: str) -> tuple[bytes, bytes]:
    """Return the request's head and body as bytes."""
    assert isinstance(request.body, bytes)
    lines = [f"{request.method} {request.path} HTTP/1.1", "host: localhost", f"content-length: {len(request.body)}"]
    lines += [f"{name}: {value}" for name, value in {**request.headers, **headers}.items()]
    return "\r\n".join([*lines, "", ""]).encode(), request.body


@contextmanager
def half_sent(port: int, request: Request) -> Iterator[tuple[socket.socket, bytes]]:
    """Send half of the request's body to a server that reads it; yield the connection and the other half."""
    head, body = bytes_of(request, expect="100-continue")
    with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
        client.sendall(head)
        assert client.recv(1 << 10) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(body[: len(body) // 2])
        yield client, body[len(body) // 2 :]


def code_of(response: Response) -> str | None:
    """Return the code of a refusal; `None` for a success."""
    return json.loads(response.body)["code"] if response.status >= 400 else None


def was_replayed(response: Response) -> bool:
    return response.headers.get("idempotent-replayed") == "true"


def assert_replay(again: Response, first: Response) -> None:
    """Assert that a repeated request got the first answer, marked as a replay."""
    assert (again.status, again.headers["content-type"]) == (first.status, first.headers["content-type"]), again.body
    assert again.body == first.body
    assert was_replayed(again)
