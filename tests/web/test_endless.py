"""Answers without an end: their clients are reset if they take nothing, but not if they take little."""

import asyncio
import select
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest
from starlette.types import Receive, Scope, Send

from app.web.deadlines import Deadlines, Timeouts
from app.web.endless import ENDLESS, Endless
from tests.web.sockets import TIMEOUT_SECONDS, listening, post

SECONDS = 30.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with bytes for ever."""
    if scope["type"] == "http":
        await receive()
        sent, gone = Endless(), asyncio.ensure_future(receive())
        scope[ENDLESS] = sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not gone.done():
            await send({"type": "http.response.body", "body": bytes(1 << 14), "more_body": True})
            sent.written += 1 << 14
            await asyncio.sleep(0)


@contextmanager
def reader(address: tuple[str, int]) -> Iterator[socket.socket]:
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 12)
        client.settimeout(TIMEOUT_SECONDS)
        client.connect(address)
        client.sendall(post("/", b""))
        yield client


def read_to_the_end(client: socket.socket) -> None:
    while client.recv(1 << 16):
        pass


def wait_for_reset(client: socket.socket) -> None:
    """Take nothing before the reset: whoever takes is not reset, and would read for ever."""
    poll = select.poll()
    poll.register(client, 0)  # a reset is reported in any case
    assert poll.poll(1000 * TIMEOUT_SECONDS), "not reset"
    with pytest.raises(ConnectionResetError):
        read_to_the_end(client)


def test_any_byte_that_is_taken_starts_the_deadline_anew() -> None:
    clock = Clock()
    deadlines = Deadlines(Timeouts(SECONDS, SECONDS, SECONDS), clock)
    for second in range(0, 200, 10):  # ten bytes more each time, of which it takes nine
        clock.now = float(second)
        assert deadlines.late_outgoing(untaken=100 + second // 10, endless=100 + second) is None
    clock.now += SECONDS - 1
    assert deadlines.late_outgoing(untaken=119 + 1000, endless=290 + 1000) is None  # more was written, nothing taken
    clock.now += 1
    late = deadlines.late_outgoing(untaken=119 + 2000, endless=290 + 2000)
    assert late is not None
    assert deadlines.late_outgoing(untaken=0, endless=5000) is None


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_a_client_that_takes_nothing_is_reset(loop: str) -> None:
    with listening(endless, loop, answer_seconds=0.2, send_buffer=1 << 12) as address, reader(address) as client:
        wait_for_reset(client)


@pytest.mark.long
def test_a_client_that_takes_slowly_is_not_reset() -> None:
    with listening(endless, answer_seconds=1.5, send_buffer=1 << 12) as address, reader(address) as client:
        end = time.monotonic() + 4
        while time.monotonic() < end:  # less than an answer with an end must move
            assert client.recv(1 << 7)
            time.sleep(0.02)


def test_a_stop_does_not_wait_for_a_stuck_client() -> None:
    with ExitStack() as stuck:
        with listening(endless, send_buffer=1 << 12) as address:
            stuck.enter_context(reader(address))
            time.sleep(0.2)
            started = time.monotonic()
        assert time.monotonic() - started < 0.9  # uvicorn gives it a second
