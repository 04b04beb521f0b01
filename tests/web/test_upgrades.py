"""An offer of another protocol changes nothing: neither the answer, nor the body, nor what comes after."""

import itertools
import socket

import pytest

from app.web.body import BULK_BYTES
from tests.web.echo import LARGE, digest
from tests.web.sockets import Wire, post, post_chunked

H2C = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n"
OFFERS = {
    "h2c": H2C,
    "a websocket": b"connection: keep-alive, upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n",
    "two protocols": b"upgrade: h2c\r\nupgrade: websocket\r\nconnection: UPGRADE\r\n",
    "TLS": b"Upgrade: TLS/1.3\r\nConnection: Upgrade\r\n",
    "an upgrade to nothing": b"upgrade:\r\nconnection: upgrade\r\n",
    "an upgrade by proxy-connection": b"proxy-connection: upgrade\r\nupgrade: h2c\r\n",
    "an upgrade that the connection does not name": b"upgrade: h2c\r\n",
}
BODIES = [b"", b"x", LARGE[: BULK_BYTES - 1], LARGE]


def offering(request: bytes, offer: bytes = H2C, before: bool = False) -> bytes:
    """Put an offer into a request's head, before its other fields or after them."""
    line, fields = request.split(b"\r\n", 1)
    head, body = fields.split(b"\r\n\r\n", 1)
    parts = (line, offer.rstrip(), head) if before else (line, head, offer.rstrip())
    return b"\r\n".join(parts) + b"\r\n\r\n" + body


@pytest.mark.parametrize("name", OFFERS)
@pytest.mark.parametrize("before", [True, False], ids=["first", "last"])
def test_an_offered_upgrade_is_ignored(address: tuple[str, int], name: str, before: bool) -> None:
    with Wire(address) as wire:
        for body, chunked, path in itertools.product(BODIES, (False, True), ("/lane", "/plain", "/unread")):
            request = post_chunked(path, [body[:70_000], body[70_000:]]) if chunked else post(path, body)
            wire.send(offering(request, OFFERS[name], before))
            assert wire.answer() == (200, b"unread" if path == "/unread" else digest(body))


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("body", [b"", b"small", LARGE], ids=["none", "small", "large"])
def test_an_offered_upgrade_is_ignored_on_every_method(address: tuple[str, int], method: str, body: bytes) -> None:
    request = offering(post("/lane", body)).replace(b"POST", method.encode(), 1)
    with Wire(address) as wire:
        wire.send(request + post("/lane", b"next"))
        assert wire.answer() == (200, digest(body))
        assert wire.answer() == (200, digest(b"next"))


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_after_an_offer_may_come_in_any_segments(address: tuple[str, int], chunked: bool) -> None:
    body = b"sixteen letters!"
    request = offering(post_chunked("/lane", [body[:5], body[5:]]) if chunked else post("/lane", body))
    with Wire(address) as wire:
        wire.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is sent apart goes apart
        for cut in range(1, len(request)):
            wire.send(request[:cut])
            wire.send(request[cut:])
            assert wire.answer() == (200, digest(body)), cut
        for byte in request:
            wire.send(bytes([byte]))
        assert wire.answer() == (200, digest(body))


def test_pipelined_requests_with_offers_are_answered_in_order(address: tuple[str, int]) -> None:
    bodies = [b"one", LARGE, b"", b"three", LARGE[:BULK_BYTES], b"five"]
    requests = [post("/lane", body) if n % 2 else offering(post("/lane", body)) for n, body in enumerate(bodies)]
    with Wire(address) as wire:
        for order in (1, -1):
            wire.send(b"".join(requests[::order]))
            assert [wire.answer() for _ in bodies] == [(200, digest(body)) for body in bodies[::order]]


@pytest.mark.parametrize("body", [b"small", LARGE], ids=["small", "large"])
def test_an_offer_that_expects_100_continue_gets_it(address: tuple[str, int], body: bytes) -> None:
    request = offering(post("/lane", body, expect="100-continue"))
    with Wire(address) as wire:
        wire.send(request[: -len(body)])
        assert wire.answer() == (100, b"")
        wire.send(body)
        assert wire.answer() == (200, digest(body))


def test_an_offer_does_not_change_keep_alive(address: tuple[str, int]) -> None:
    with Wire(address) as wire:
        wire.send(offering(post("/lane", b"last"), b"connection: close, upgrade\r\nupgrade: h2c"))
        assert wire.answer() == (200, digest(b"last"))
        assert wire.is_closed()
    with Wire(address) as wire:
        wire.send(offering(post("/lane", b"old").replace(b"HTTP/1.1", b"HTTP/1.0")))
        assert wire.answer() == (200, digest(b"old"))
        assert wire.is_closed()


@pytest.mark.parametrize(
    ("framing", "code"),
    [
        (b"content-length: 3\r\ncontent-length: 4", "malformed_header"),
        (b"content-length: 3\r\ntransfer-encoding: chunked", "malformed_header"),
        (b"transfer-encoding: chunked\r\ncontent-length: 3", "malformed_header"),
        (b"content-length: +3", "malformed_header"),
        (b"transfer-encoding: chunked, identity", "malformed_header"),
        (b"transfer-encoding: xchunked", "malformed_body"),
    ],
)
def test_an_offer_with_ambiguous_framing_is_refused(address: tuple[str, int], framing: bytes, code: str) -> None:
    with Wire(address) as wire:
        wire.send(b"POST /lane HTTP/1.1\r\nhost: localhost\r\n" + H2C + framing + b"\r\n\r\nabc" + post("/lane", b"in"))
        assert wire.refusal()[1]["code"] == code
        assert wire.is_closed()


def test_a_body_after_an_offer_is_not_a_request(address: tuple[str, int]) -> None:
    hidden = post("/unread", b"")
    with Wire(address) as wire:
        wire.send(offering(post("/lane", hidden)) + post("/lane", b"next"))
        assert wire.answer() == (200, digest(hidden))
        assert wire.answer() == (200, digest(b"next"))
