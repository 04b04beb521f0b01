"""The protocol of a connection: pipelined requests, keep-alive, and the uvicorn that it stands on."""

import asyncio
import inspect
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http import httptools_impl

from app.web.body import BULK_BYTES
from tests.examples import examples
from tests.web.echo import LARGE, digest, echo
from tests.web.sockets import Wire, listening, post, post_chunked


@st.composite
def conversations(draw: st.DrawFn) -> tuple[list[tuple[bytes, bytes]], list[int]]:
    """Requests with their expected answers, and where the bytes of all of them are cut."""
    sizes = st.sampled_from([0, 1, 100, BULK_BYTES - 1, BULK_BYTES, BULK_BYTES + 1, 3 * BULK_BYTES])
    asked = []
    for _ in range(draw(st.integers(1, 4))):
        body = LARGE[: draw(sizes)]
        path = draw(st.sampled_from(["/lane", "/plain", "/unread"]))
        whole = post_chunked(path, [body[:70_000], body[70_000:]]) if draw(st.booleans()) else post(path, body)
        asked.append((whole, b"unread" if path == "/unread" else digest(body)))
    length = sum(len(whole) for whole, _ in asked)
    return asked, sorted(draw(st.lists(st.integers(0, length), max_size=8)))


@given(conversations())
@examples(quick=15, whole=500)
def test_pipelined_requests_cut_anywhere_are_answered_in_order(
    address: tuple[str, int], conversation: tuple[list[tuple[bytes, bytes]], list[int]]
) -> None:
    asked, cuts = conversation
    data = b"".join(whole for whole, _ in asked)
    with Wire(address) as wire:
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            wire.send(data[start:end])
        assert [wire.answer() for _ in asked] == [(200, answer) for _, answer in asked]


@pytest.mark.long
def test_keep_alive_ends_even_if_a_body_followed_its_answer() -> None:
    with listening(echo, keep_alive=1) as address:
        for whole in (post("/unread", b"late"), post("/unread", LARGE), post_chunked("/unread", [LARGE])):
            with Wire(address) as wire:
                head = whole.index(b"\r\n\r\n") + 4
                wire.send(whole[:head])
                assert wire.answer() == (200, b"unread")
                wire.send(whole[head:])
                wire.socket.settimeout(10)
                assert wire.is_closed()


def test_bytes_after_the_last_request_are_ignored(address: tuple[str, int]) -> None:
    with Wire(address) as wire:
        wire.send(post("/lane", LARGE))
        assert wire.answer() == (200, digest(LARGE))
        wire.send(post("/lane", b"last", connection="close") + b"POST / HTTP/1.1\r\n")
        assert wire.answer() == (200, digest(b"last"))
        assert wire.is_closed()


def test_an_idle_connection_ends_by_keep_alive_or_head_deadline() -> None:
    """An empty line is no request, and ends uvicorn's own wait for one."""
    with listening(echo, keep_alive=1, head_seconds=0.2) as address:
        for line in (b"", b"\r\n", b"\r\n\r\n"):
            with Wire(address) as wire:
                wire.send(post("/lane", b"one"))
                assert wire.answer() == (200, digest(b"one"))
                wire.send(line)
                assert wire.is_closed()


def test_a_request_is_answered_before_malformed_bytes_are_refused() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.1)
        await echo(scope, receive, send)

    with listening(slow) as address, Wire(address) as wire:
        wire.send(post("/lane", b"good") + b"bad\r\n\r\n")
        assert wire.answer() == (200, digest(b"good"))
        assert wire.is_closed()


def test_the_source_of_uvicorns_protocol_has_not_changed() -> None:
    """If this fails, read the changes, see that `app/web/protocol.py` still holds, and put the new digest here."""
    source = inspect.getsource(httptools_impl)
    assert sha256(source.encode()).hexdigest() == "1d4e1c579df4168433a61a01f10c628b31c1790e72dd9769d2b8633b22214033"
