"""Refusals of bytes that are not HTTP/1.1: each is a problem document, and ends the connection."""

import re

import pytest

from app.main import create_app
from app.settings import Settings
from app.web.body import BULK_BYTES
from tests.web.logs import Logs
from tests.web.sockets import Wire, listening, post, post_chunked


@pytest.mark.parametrize(
    "sent",
    [
        b"\0\r\n\r\n",
        b"GET / FTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nx-a: a\0b\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nx-a: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nx a: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: localhost\r\nx-a: " + bytes(BULK_BYTES).replace(b"\0", b"a") * 2,
        b"\r\n" * BULK_BYTES,
    ],
    ids=["zero", "ftp", "nul", "cr", "space", "minus", "two lengths", "length and chunks", "endless", "empty lines"],
)
def test_malformed_http_is_answered_with_a_problem(address: tuple[str, int], sent: bytes) -> None:
    with Wire(address) as wire:
        wire.send(sent)
        head, answer = wire.refusal()
        assert answer["code"] == "malformed_header"
        assert re.search(rb"x-request-id: [0-9a-f]{32}\r\n", head)
        assert b"content-type: application/problem+json\r\n" in head
        assert wire.is_closed()


def test_malformed_chunks_are_a_malformed_body(address: tuple[str, int]) -> None:
    with Wire(address) as wire:
        wire.send(post_chunked("/lane", [b"good"])[:-5] + b"none\r\n")
        assert wire.refusal()[1]["code"] == "malformed_body"
        assert wire.is_closed()


def test_trailers_are_no_longer_than_a_head(address: tuple[str, int]) -> None:
    with Wire(address) as wire:
        wire.send(post_chunked("/lane", [b"good"])[:-2] + b"x-a: " + b"a" * 2 * BULK_BYTES)
        assert wire.refusal()[1]["code"] == "malformed_body"
        assert wire.is_closed()


def test_a_refused_connection_is_logged_with_its_code(logs: Logs) -> None:
    with listening(create_app(Settings(store="memory:"))) as address, Wire(address) as wire:
        wire.send(b"GET / HTTP/3\r\n\r\n")
        head, document = wire.refusal()
        port = wire.socket.getsockname()[1]
    (line,) = [line for line in logs.lines() if line["event"] == "refused"]
    assert (line["code"], line["detail"], line["client"]) == (
        "malformed_header", document["detail"], f"127.0.0.1:{port}",
    )  # fmt: skip
    assert line["request_id"].encode() in head


@pytest.mark.parametrize(
    ("sent", "late", "level"),
    [
        (b"POST / HTTP/1.1\r\n", "head", "debug"),
        (post("/v1/sessions", b"{}", content_type="application/json")[:-1], "body", "info"),
    ],
)
def test_a_late_client_is_logged(logs: Logs, sent: bytes, late: str, level: str) -> None:
    app = create_app(Settings(store="memory:"))
    with listening(app, head_seconds=0.1, body_seconds=0.1) as address, Wire(address) as wire:
        wire.send(sent)
        assert wire.is_closed()
    (line,) = [line for line in logs.lines() if line["event"] == "closed a late connection"]
    assert (line["late"], line["level"]) == (late, level)
    assert line["client"].startswith("127.0.0.1:")
