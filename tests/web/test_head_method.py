"""The method HEAD: the answer of GET without its body."""

from typing import Any

from app.main import create_app
from app.settings import Settings
from app.web.head_method import as_get
from tests.service.calls import W, create, serving, stepped
from tests.web.sockets import Wire, listening


def test_where_get_answers_head_says_the_same_without_the_body() -> None:
    with serving() as client:
        session = create(client, hold_params=True)
        stepped(client, session, **W)
        rest = ("", "/params", "/state", "/history", "/steps")
        paths = ["/livez", "/readyz", "/docs", "/openapi.json", "/v1/sessions", "/v1/sessions/0", "/nowhere"]
        for path in [*paths, *(session + more for more in rest)]:
            headers = {"x-request-id": "one-and-the-same"}
            get, head = client.get(path, headers=headers), client.head(path, headers=headers)
            assert (head.status_code, head.headers, head.content) == (get.status_code, get.headers, b""), path


def test_no_byte_follows_the_head_on_the_connection() -> None:
    """Leave the connection to the next answer, which a client reads right behind."""
    with listening(create_app(Settings(store="memory:"))) as address, Wire(address) as wire:
        wire.send(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
        assert wire.answer() == (200, b'{"status":"alive"}')
        lines = b"HEAD /livez HTTP/1.1\r\nhost: localhost\r\n"
        wire.send(lines + b"\r\n" + lines + b"connection: close\r\n\r\n")
        heads = b""
        while data := wire.socket.recv(1 << 16):
            heads += data
    assert heads.count(b"HTTP/1.1 200 OK\r\n") == heads.count(b"\r\n\r\n") == 2
    assert heads.lower().count(b"\r\ncontent-length: 18\r\n") == 2
    assert heads.endswith(b"\r\n\r\n")


async def test_only_the_body_of_an_answer_to_head_is_dropped() -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    start, body = {"type": "http.response.start", "status": 200}, {"type": "http.response.body", "body": b"all of it"}
    for method in ("HEAD", "GET", "PUT"):
        scope, into = as_get({"type": "http", "method": method}, send)
        assert scope["method"] == {"HEAD": "GET"}.get(method, method)
        for message in (start, body):
            await into(message)
    assert sent == [start, body | {"body": b""}, start, body, start, body]
