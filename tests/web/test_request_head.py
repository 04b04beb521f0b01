"""The head of a request: its version, its target, and one host."""

import json
from collections.abc import Iterator

import pytest
from httpx2 import Client

from app.main import create_app
from app.settings import Settings
from tests.service.calls import W, create, problem
from tests.web.sockets import Wire, listening


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    with listening(create_app(Settings(store="memory:"))) as address:
        yield address


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("GET /livez HTTP/2.0", "HTTP/2.0 is not supported"),
        ("GET /livez HTTP/0.9", "HTTP/0.9 is not supported"),
        ("GET /livez", "HTTP/0.9 is not supported"),
        ("GET /livez HTTP/1.2", "not HTTP/1.1"),
        ("GET /livez HTTP/3", "not HTTP/1.1"),
        ("GET /livez HTTP/3.0", "not HTTP/1.1"),
        ("GET /livez HTTP/", "not HTTP/1.1"),
        ("PRI * HTTP/2.0", "HTTP/2 is not supported"),
        ("CONNECT example.org:443 HTTP/1.1", "for proxies"),
        ("CONNECT /livez HTTP/1.1", "for proxies"),
        ("GET ftp://localhost/livez HTTP/1.1", "neither a path nor an http URL"),
    ],
)
def test_an_unsupported_request_line_is_refused_with_its_reason(
    address: tuple[str, int], line: str, words: str
) -> None:
    with Wire(address) as wire:
        wire.send(f"{line}\r\nhost: localhost\r\n\r\nSM\r\n\r\n".encode())
        head, document = wire.refusal()
        assert head.startswith(b"HTTP/1.1 400 ")
        assert document["code"] == "malformed_header"
        assert words in document["detail"]
        assert wire.is_closed()


def status(address: tuple[str, int], target: str, *hosts: str, version: str = "1.1") -> tuple[int, str | None]:
    """Return the status of an answer, and the code of a refusal."""
    fields = "".join(f"host: {host}\r\n" for host in hosts)
    with Wire(address) as wire:
        wire.send(f"GET {target} HTTP/{version}\r\n{fields}\r\n".encode("latin-1"))
        status, body = wire.answer()
    return status, None if body.startswith(b"<!doctype html>") else json.loads(body).get("code")


@pytest.mark.parametrize(
    ("target", "hosts", "answer"),
    [
        ("http://localhost/v1/sessions", ("evil.example",), (200, None)),
        ("HTTP://127.0.0.1:8000/v1/sessions", ("localhost",), (200, None)),
        ("https://[::1]/v1/sessions?limit=1", ("localhost",), (200, None)),
        ("http://evil.example/v1/sessions", ("localhost",), (421, "misdirected")),
        ("http://localhost@evil.example/v1/sessions", ("localhost",), (400, "malformed_header")),
        ("http:///v1/sessions", ("localhost",), (400, "malformed_header")),
        ("http://localhost:99999/v1/sessions", ("localhost",), (400, "malformed_header")),
        ("http://localhost/v1/sessions", (), (400, "malformed_header")),
        ("http://localhost/v1/sessions", ("localhost", "localhost"), (400, "malformed_header")),
        ("http://localhost", ("localhost",), (200, None)),
        ("http://localhost?limit=1", ("localhost",), (400, "malformed_query")),
        ("//evil.example/v1/sessions", ("localhost",), (404, "route_not_found")),
    ],
)
def test_the_targets_authority_wins_over_the_host_field(
    address: tuple[str, int], target: str, hosts: tuple[str, ...], answer: tuple[int, str | None]
) -> None:
    assert status(address, target, *hosts) == answer


@pytest.mark.parametrize(
    "hosts",
    [
        (), ("",), ("localhost", "localhost"), ("localhost", "evil.example"), ("local host",), ("localhost:x",),
        ("localhost:99999",), ("user@localhost",), ("localhost/x",), ("http://localhost",), ("[::1",), ("::1",),
        ("[::1]x",), ("[localhost]",), ("localhost, evil.example",), ("löcalhost",), ("local\thost",), (":8000",),
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/v1/sessions", "/livez", "/nowhere"])
def test_a_request_needs_exactly_one_valid_host(address: tuple[str, int], hosts: tuple[str, ...], path: str) -> None:
    assert status(address, path, *hosts) == (400, "malformed_header")


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("authorization", ("Bearer a", "Bearer b")), ("authorization", ("Bearer a", "Bearer a")),
        ("content-type", ("application/json", "text/plain")), ("idempotency-key", ('"a"', '"b"')),
        ("origin", ("http://localhost", "https://evil.example")),
    ],
)  # fmt: skip
def test_a_repeated_single_field_is_refused(client: Client, name: str, values: tuple[str, str]) -> None:
    fields = [("content-type", "application/json")] if name != "content-type" else []
    answer = client.post(
        "/v1/sessions", content=b'{"optimizer": "sgd"}', headers=[*fields, *((name, value) for value in values)]
    )
    assert name in problem(answer, 400, "malformed_header")["detail"].lower()


def test_a_list_may_be_sent_in_two_fields(client: Client) -> None:
    session = create(client)
    etag = client.get(session).headers["etag"]
    assert client.get(session, headers=[("if-none-match", '"other"'), ("if-none-match", etag)]).status_code == 304
    binary = [("accept", "text/html"), ("accept", "application/vnd.safetensors"), ("x-other", "1"), ("x-other", "2")]
    answer = client.post(f"{session}/steps", json=W, headers=binary)
    assert answer.headers["content-type"] == "application/vnd.safetensors"
    gzip = [("content-encoding", "identity"), ("content-encoding", "gzip")]
    problem(client.post(f"{session}/steps", json=W, headers=gzip), 415, "unsupported_media_type")


def test_an_http_1_0_request_needs_no_host(address: tuple[str, int]) -> None:
    assert status(address, "/v1/sessions", version="1.0") == (200, None)
    assert status(address, "/v1/sessions", "evil.example", version="1.0") == (421, "misdirected")
    assert status(address, "/v1/sessions", "localhost", "localhost", version="1.0") == (400, "malformed_header")
