"""The bulk lane behaves as uvicorn does without it, but for the copies, and lets nobody wait for ever."""

import asyncio
import gc
import inspect
import json
import re
import select
import socket
import ssl
import time
from collections.abc import Iterator
from hashlib import sha256
from threading import Event

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http import httptools_impl

from app.main import create_app
from app.settings import Settings
from app.web.body import BULK_BYTES, EXTENSION
from optim_engine.buffers import BUFFERS
from tests.web.echo import GONE, LARGE, digest, echo
from tests.web.sockets import TIMEOUT_SECONDS, Wire, listening, post, post_chunked


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def address(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    with listening(echo, request.param) as address:
        yield address


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
@settings(max_examples=60, deadline=None)
def test_requests_cut_anywhere_and_sent_in_one_pipeline_get_their_answers_in_order(
    address: tuple[str, int], conversation: tuple[list[tuple[bytes, bytes]], list[int]]
) -> None:
    asked, cuts = conversation
    data = b"".join(whole for whole, _ in asked)
    with Wire(address) as wire:
        for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            wire.send(data[start:end])
        assert [wire.answer() for _ in asked] == [(200, answer) for _, answer in asked]


def test_a_large_body_goes_around_the_parser() -> None:
    seen, counted = [], list[int]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            buffer = memoryview(bytearray(len(LARGE)))
            taken = scope["extensions"][EXTENSION].receive_into(buffer, counted.append)
            seen.append((taken, await receive(), bytes(buffer)))
            await Response()(scope, receive, send)

    with listening(app) as address, Wire(address) as wire:
        wire.send(post("/", LARGE)[:-1000])
        wire.send(LARGE[-1000:])
        assert wire.answer() == (200, b"")
    assert seen == [(True, {"type": "http.request", "body": b"", "more_body": False}, LARGE)]
    assert sum(counted) == len(LARGE)


@pytest.mark.parametrize(
    "begin",
    [
        post("/v1/sessions/x/steps", bytes(100))[:-1],
        post("/v1/sessions/x/steps", LARGE)[: -len(LARGE) + 1000],
        post("/v1/sessions/x/steps", LARGE, expect="100-continue")[: -len(LARGE) + 1000],
        post_chunked("/v1/sessions/x/steps", [bytes(100)])[:-10],
    ],
    ids=["small", "large", "large, with 100-continue", "chunked"],
)
def test_a_body_that_has_hardly_begun_takes_no_place_from_others(begin: bytes) -> None:
    begin = begin.replace(b"host: localhost", b"host: localhost\r\ncontent-type: application/octet-stream")
    app = create_app(Settings(store="memory:", max_waiting_steps=1))
    with listening(app) as address, Wire(address) as slow, Wire(address) as other:
        other.send(post("/v1/sessions", b'{"optimizer": "sgd"}', content_type="application/json"))
        begin = begin.replace(b"sessions/x/", f"sessions/{json.loads(other.answer()[1])['id']}/".encode())
        slow.send(begin)
        if b"expect" in begin:
            assert slow.answer()[0] == 100
        other.send(post("/v1/sessions/x/steps", b"{}", content_type="application/json"))
        assert other.answer()[0] == 404


@pytest.mark.parametrize("cut", [0, 1, 40_000, len(LARGE) - 1])
def test_a_client_that_leaves_in_the_middle_of_a_body_is_noticed(address: tuple[str, int], cut: int) -> None:
    GONE.clear()
    path = f"/leaves-at-{cut}"
    with Wire(address) as wire:
        wire.send(post(path, LARGE)[: -len(LARGE) + cut])
    with Wire(address) as wire:
        while path not in GONE:
            wire.send(post("/lane", b"again"))
            assert wire.answer() == (200, digest(b"again"))


def test_the_memory_of_a_body_is_used_again(address: tuple[str, int]) -> None:
    with Wire(address) as wire:
        wire.send(post("/lane", LARGE))
        wire.answer()
        gc.collect()
        idle = BUFFERS.idle_bytes
        for _ in range(5):
            wire.send(post("/lane", LARGE))
            wire.answer()
        assert BUFFERS.idle_bytes == idle


def test_100_continue_is_said_when_the_body_is_asked_for_and_not_before(address: tuple[str, int]) -> None:
    with Wire(address) as wire:
        head = post("/lane", LARGE, expect="100-continue")[: -len(LARGE)]
        wire.send(head)
        assert wire.answer() == (100, b"")
        wire.send(LARGE)
        assert wire.answer() == (200, digest(LARGE))
        wire.send(head.replace(b"/lane", b"/unread"))
        assert wire.answer() == (200, b"unread")


def test_a_body_over_the_limit_is_refused_before_it_is_sent_and_the_connection_goes_on() -> None:
    with listening(create_app(Settings(store="memory:", max_body_bytes=1 << 20))) as address, Wire(address) as wire:
        whole = post("/v1/sessions/x/steps", bytes(2 << 20), content_type="application/octet-stream")
        wire.send(whole[: -2 << 20])
        assert wire.answer()[0] == 413
        wire.send(whole[-2 << 20 :])
        wire.send(
            post("/v1/sessions", b'{"optimizer": "sgd", "hyperparameters": {"lr": 1}}', content_type="application/json")
        )
        assert wire.answer()[0] == 201


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
def test_a_client_that_owes_the_rest_is_let_go_at_the_deadline(loop: str, sent: bytes) -> None:
    with listening(echo, loop, head_seconds=0.1, body_seconds=0.2) as address, Wire(address) as wire:
        wire.send(sent)
        if sent.endswith(b"firstPOST"):
            assert wire.answer() == (200, digest(b"first"))
        assert wire.is_closed()


def test_a_body_may_take_longer_the_more_of_it_has_come() -> None:
    """Half a second and, for these 192 KiB, 12 seconds more."""
    with listening(echo, body_seconds=0.5) as address, Wire(address) as wire:
        whole = post("/lane", LARGE)
        wire.send(whole[:-BULK_BYTES])
        for start in range(-BULK_BYTES, 0, 1 << 12):
            time.sleep(0.1)
            wire.send(whole[start : start + (1 << 12) or None])
        assert wire.answer() == (200, digest(LARGE))


@pytest.mark.parametrize("path", ["/lane", "/plain"])
def test_a_body_that_stops_coming_is_let_go_however_much_has_come(path: str) -> None:
    with listening(echo, body_seconds=0.2) as address, Wire(address) as wire:
        wire.send(post(path, LARGE)[:-1])
        assert wire.is_closed()


def test_a_connection_whose_body_came_after_its_answer_is_not_kept_for_ever() -> None:
    with listening(echo, keep_alive=1) as address:
        for whole in (post("/unread", b"late"), post("/unread", LARGE), post_chunked("/unread", [LARGE])):
            with Wire(address) as wire:
                head = whole.index(b"\r\n\r\n") + 4
                wire.send(whole[:head])
                assert wire.answer() == (200, b"unread")
                wire.send(whole[head:])
                wire.socket.settimeout(10)
                assert wire.is_closed()


def test_the_time_in_which_the_service_does_not_read_is_not_the_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    async def busy(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.8)
        await echo(scope, receive, send)

    monkeypatch.setattr("app.web.deadlines.SLOWEST_BYTES_PER_SECOND", 1 << 40)
    with listening(busy, body_seconds=0.5) as address, Wire(address) as wire:
        wire.send(post("/lane", LARGE))
        assert wire.answer() == (200, digest(LARGE))


def test_a_body_that_has_come_before_it_is_asked_for_is_read_as_usual() -> None:
    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.1)
        await echo(scope, receive, send)

    with listening(late) as address, Wire(address) as wire:
        wire.send(post("/lane", LARGE[: BULK_BYTES + 1]))
        assert wire.answer() == (200, digest(LARGE[: BULK_BYTES + 1]))


def test_what_follows_a_last_request_is_passed_over(address: tuple[str, int]) -> None:
    with Wire(address) as wire:
        wire.send(post("/lane", LARGE))
        assert wire.answer() == (200, digest(LARGE))
        wire.send(post("/lane", b"last", connection="close") + b"POST / HTTP/1.1\r\n")
        assert wire.answer() == (200, digest(b"last"))
        assert wire.is_closed()


def test_a_connection_is_kept_between_requests_beyond_the_deadline_of_a_head() -> None:
    with listening(echo, head_seconds=0.05, body_seconds=0.05) as address, Wire(address) as wire:
        for body in (b"one", LARGE, b"two"):
            wire.send(post("/lane", body))
            assert wire.answer() == (200, digest(body))
            wire.socket.settimeout(0.3)
            with pytest.raises(TimeoutError):
                wire.socket.recv(1)
            wire.socket.settimeout(30)


def test_a_connection_that_is_kept_ends_with_uvicorns_time_or_that_of_a_head() -> None:
    """An empty line is no request, and ends uvicorn's own wait for one."""
    with listening(echo, keep_alive=1, head_seconds=0.2) as address:
        for line in (b"", b"\r\n", b"\r\n\r\n"):
            with Wire(address) as wire:
                wire.send(post("/lane", b"one"))
                assert wire.answer() == (200, digest(b"one"))
                wire.send(line)
                assert wire.is_closed()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("nbytes", [1 << 15, 1 << 25], ids=["which uvicorn thinks is sent", "which fills all buffers"])
def test_a_client_that_does_not_take_its_answer_is_let_go_at_the_deadline(loop: str, nbytes: int) -> None:
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
def test_what_is_no_http_is_refused_as_a_problem(address: tuple[str, int], sent: bytes) -> None:
    with Wire(address) as wire:
        wire.send(sent)
        head, answer = wire.refusal()
        assert answer["code"] == "malformed_header"
        assert re.search(rb"x-request-id: [0-9a-f]{32}\r\n", head)
        assert b"content-type: application/problem+json\r\n" in head
        assert wire.is_closed()


def test_chunks_that_are_none_are_a_malformed_body(address: tuple[str, int]) -> None:
    with Wire(address) as wire:
        wire.send(post_chunked("/lane", [b"good"])[:-5] + b"none\r\n")
        assert wire.refusal()[1]["code"] == "malformed_body"
        assert wire.is_closed()


def test_what_follows_a_chunked_body_is_no_longer_than_a_head(address: tuple[str, int]) -> None:
    with Wire(address) as wire:
        wire.send(post_chunked("/lane", [b"good"])[:-2] + b"x-a: " + b"a" * 2 * BULK_BYTES)
        assert wire.refusal()[1]["code"] == "malformed_body"
        assert wire.is_closed()


def test_a_request_is_answered_although_the_next_one_cannot_be_read() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.1)
        await echo(scope, receive, send)

    with listening(slow) as address, Wire(address) as wire:
        wire.send(post("/lane", b"good") + b"bad\r\n\r\n")
        assert wire.answer() == (200, digest(b"good"))
        assert wire.is_closed()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_the_lane_goes_through_tls(loop: str) -> None:
    authority = trustme.CA()
    ours, theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(ours)
    authority.configure_trust(theirs)
    with (
        listening(echo, loop, ours) as address,
        Wire(address, lambda plain: theirs.wrap_socket(plain, server_hostname="localhost")) as wire,
    ):
        for body in (LARGE, b"small", LARGE * 40):
            wire.send(post("/lane", body))
            assert wire.answer() == (200, digest(body))


def test_uvicorns_protocol_is_the_one_that_the_lane_was_written_against() -> None:
    """If this fails, read the changes, see that `app/web/protocol.py` still holds, and put the new digest here."""
    source = inspect.getsource(httptools_impl)
    assert sha256(source.encode()).hexdigest() == "1d4e1c579df4168433a61a01f10c628b31c1790e72dd9769d2b8633b22214033"
