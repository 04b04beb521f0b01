"""Many connections at once: what is urgent stands behind none of them, and what waits or has ended costs nothing."""

import gc
from contextlib import ExitStack
from threading import Event

import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.web.body import Body
from app.web.connection import RECEIVE_BYTES, Connection
from app.web.pacing import STARTED_PER_TURN
from app.web.protocol import Http
from tests.web.echo import LARGE, digest
from tests.web.sockets import TIMEOUT_SECONDS, URGENT, Wire, listening, post, post_chunked, wait_until


def test_waiting_connections_share_one_receive_buffer(address: tuple[str, int]) -> None:
    before = receive_buffers()
    with ExitStack() as stack:
        for _ in range(8):
            wire = stack.enter_context(Wire(address))
            wire.send(post("/lane", b"once"))
            assert wire.answer() == (200, digest(b"once"))
        assert receive_buffers() <= max(before, 1)


def receive_buffers() -> int:
    return sum(isinstance(thing, memoryview) and thing.nbytes == RECEIVE_BYTES for thing in gc.get_objects())


@pytest.mark.long
def test_an_ended_connection_is_freed_without_garbage_collection(address: tuple[str, int]) -> None:
    gc.collect()
    gc.disable()
    try:
        with Wire(address) as wire:
            for path in ("/lane", "/plain", "/unread"):
                wire.send(post(path, LARGE))
                wire.answer()
            assert left() == {Connection, Http, Body, RequestResponseCycle}
        wait_until(lambda: not left(), lambda: f"there is still {left()}")
    finally:
        gc.enable()


def left() -> set[type]:
    """Return the types of the lane that still have objects in memory."""
    return {type(thing) for thing in gc.get_objects()} & {Connection, Http, Body, RequestResponseCycle}


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_an_urgent_request_does_not_wait_behind_a_burst(loop: str) -> None:
    begun, is_sent = list[str](), Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            begun.append(scope["path"])
            if scope["path"] == "/all-wait":
                is_sent.wait(TIMEOUT_SECONDS)
            await Response()(scope, receive, send)

    with listening(app, loop) as address, ExitStack() as stack:
        first, *crowd = (stack.enter_context(Wire(address)) for _ in range(50))
        for wire in crowd:
            wire.send(post("/", b""))
            assert wire.answer() == (200, b"")
        begun.clear()
        first.send(post("/all-wait", b""))
        wait_until(lambda: bool(begun), lambda: "nothing has begun")
        for number, wire in enumerate(crowd, start=1):
            wire.send(post(URGENT if wire is crowd[-1] else f"/{number}", b""))
        is_sent.set()
        assert [wire.answer() for wire in (first, *crowd)] == [(200, b"")] * 50
    assert begun.index(URGENT) < 4 * STARTED_PER_TURN
    begun.remove(URGENT)
    assert begun == ["/all-wait", *(f"/{number}" for number in range(1, 49))]


def test_a_queued_request_may_lose_its_connection() -> None:
    is_sent = Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if scope["path"] == "/all-wait":
                is_sent.wait(TIMEOUT_SECONDS)
            await Response(digest(await Request(scope, receive).body()))(scope, receive, send)

    with listening(app) as address, ExitStack() as stack:
        first, *crowd = (stack.enter_context(Wire(address)) for _ in range(20))
        for wire in crowd:
            wire.send(post("/", b""))
            assert wire.answer() == (200, digest(b""))
        first.send(post("/all-wait", b""))
        for wire in crowd:
            wire.send(post_chunked("/", [b"good"])[:-5] + b"and no chunk")
        is_sent.set()
        assert first.answer() == (200, digest(b""))
        for wire in crowd:
            assert wire.refusal()[1]["code"] == "malformed_body"
            assert wire.is_closed()
        with Wire(address) as wire:
            wire.send(post("/", b"still there"))
            assert wire.answer() == (200, digest(b"still there"))
