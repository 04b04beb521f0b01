"""Deadlines: slow clients are closed, and clients that make progress are not."""

import asyncio
import select
import socket
import time
from threading import Event

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.web.body import BULK_BYTES
from tests.web.echo import LARGE, digest, echo
from tests.web.sockets import TIMEOUT_SECONDS, Wire, listening, post, post_chunked


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"POST /lane HTTP/1.1\r\nhost:",
        post("/lane", b"small")[:-1],
        post("/lane", LARGE)[: -len(LARGE) + 100],
        post("/plain", LARGE)[: -len(LARGE) + 100],
        post_chunked("/lane", [LARGE])[:200],
        post("/lane", b"first") + b"POST",
    ],
    ids=["nothing", "head", "small", "large", "plain", "chunked", "second"],
)
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_an_incomplete_request_is_closed_at_its_deadline(loop: str, sent: bytes) -> None:
    with listening(echo, loop, head_seconds=0.1, body_seconds=0.2) as address, Wire(address) as wire:
        wire.send(sent)
        if sent.endswith(b"firstPOST"):
            assert wire.answer() == (200, digest(b"first"))
        assert wire.is_closed()


@pytest.mark.long
def test_each_byte_received_extends_the_deadline_of_a_body() -> None:
    """Half a second and, for these 192 KiB, 12 seconds more."""
    with listening(echo, body_seconds=0.5) as address, Wire(address) as wire:
        whole = post("/lane", LARGE)
        wire.send(whole[:-BULK_BYTES])
        for start in range(-BULK_BYTES, 0, 1 << 12):
            time.sleep(0.1)
            wire.send(whole[start : start + (1 << 12) or None])
        assert wire.answer() == (200, digest(LARGE))


@pytest.mark.parametrize("path", ["/lane", "/plain"])
def test_a_stalled_body_is_closed_however_much_has_come(path: str) -> None:
    with listening(echo, body_seconds=0.2) as address, Wire(address) as wire:
        wire.send(post(path, LARGE)[:-1])
        assert wire.is_closed()


@pytest.mark.long
def test_deadlines_stand_still_while_the_service_does_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    async def busy(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.8)
        await echo(scope, receive, send)

    monkeypatch.setattr("app.web.deadlines.SLOWEST_BYTES_PER_SECOND", 1 << 40)
    with listening(busy, body_seconds=0.5) as address, Wire(address) as wire:
        wire.send(post("/lane", LARGE))
        assert wire.answer() == (200, digest(LARGE))


def test_an_idle_connection_outlives_the_deadline_of_a_head() -> None:
    with listening(echo, head_seconds=0.05, body_seconds=0.05) as address, Wire(address) as wire:
        for body in (b"one", LARGE, b"two"):
            wire.send(post("/lane", body))
            assert wire.answer() == (200, digest(body))
            wire.socket.settimeout(0.3)
            with pytest.raises(TimeoutError):
                wire.socket.recv(1)
            wire.socket.settimeout(30)


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("nbytes", [1 << 15, 1 << 25], ids=["which uvicorn thinks is sent", "which fills all buffers"])
def test_an_answer_that_is_not_taken_resets_the_connection(loop: str, nbytes: int) -> None:
    gone = Event()

    async def generous(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await Response(bytes(nbytes))(scope, receive, send)
            await receive()  # until the client is gone
            gone.set()

    with listening(generous, loop, answer_seconds=0.2, send_buffer=1 << 12) as address, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
        client.connect(address)
        client.sendall(post("/", b""))
        assert gone.wait(TIMEOUT_SECONDS)
        poll = select.poll()
        poll.register(client, 0)  # tells of a reset, read or not
        assert poll.poll(1000 * TIMEOUT_SECONDS)
