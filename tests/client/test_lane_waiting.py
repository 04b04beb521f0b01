"""The timeouts of the lane: for progress, for a connection to be accepted, and for one to come free."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx2
import numpy as np
import pytest
from optim_client import APIConnectionError, APITimeoutError, AsyncClient, Client, _async_lane, _lane

from tests.client.conftest import Connect
from tests.client.raw import Handler, RawServer, read_request
from tests.client.raw_service import LARGE, assert_next_call_is_answered, get, named, session_then, step_answer

stop = threading.Event()


def unread(_: socket.socket) -> None:
    stop.wait(10)


def unanswered(link: socket.socket) -> None:
    read_request(link)
    stop.wait(10)


@pytest.fixture(autouse=True)
def _stop() -> Iterator[None]:
    """Keep silent servers silent until the test ends."""
    stop.clear()
    yield
    stop.set()


@pytest.fixture
def silent() -> Iterator[Callable[..., RawServer]]:
    with ExitStack() as stack:

        def start(*handlers: Handler) -> RawServer:
            server = stack.enter_context(RawServer(*handlers))
            stack.callback(stop.set)
            return server

        yield start


TIMEOUTS = {"write": (LARGE, unread), "read": ({"w": np.float32(1)}, unanswered)}


@pytest.mark.parametrize("phase", TIMEOUTS)
def test_no_progress_is_a_timeout(connect: Connect, silent: Callable[..., RawServer], phase: str) -> None:
    grads, handler = TIMEOUTS[phase]
    server = silent(session_then(handler), named)
    client = connect(server.url, max_retries=0, timeout=httpx2.Timeout(10, **{phase: 0.1}))
    session = client.sessions.get("s-1")
    with pytest.raises(APITimeoutError, match="no answer in time") as raised:
        session.step(grads=grads)
    assert raised.value.sent
    assert_next_call_is_answered(client, server)


def test_a_slow_answer_with_progress_is_no_timeout(connect: Connect) -> None:
    whole = step_answer(LARGE)

    def slow(link: socket.socket) -> None:
        read_request(link)
        for start in range(0, len(whole), len(whole) // 8 + 1):
            stop.wait(0.1)
            link.sendall(whole[start : start + len(whole) // 8 + 1])

    with RawServer(session_then(slow)) as server:
        client = connect(server.url, max_retries=0, timeout=0.5)
        assert np.array_equal(client.sessions.get("s-1").step(grads=LARGE)["w"], LARGE["w"])


def test_an_unaccepted_connection_is_an_unsent_timeout(connect: Connect) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, ExitStack() as waiting:
        for _ in range(4):
            link = waiting.enter_context(socket.socket())
            link.setblocking(False)
            link.connect_ex(full.getsockname())
        client = connect(
            f"http://127.0.0.1:{full.getsockname()[1]}", max_retries=0, timeout=httpx2.Timeout(10, connect=0.1)
        )
        with pytest.raises(APITimeoutError) as raised:
            get(client)
    assert not raised.value.sent


POOL = httpx2.Timeout(10, pool=0.05)


def holding(held: threading.Event) -> Handler:
    """Keep the first call waiting until the test ends."""

    def handle(link: socket.socket) -> None:
        read_request(link)
        held.set()
        stop.wait(10)

    return handle


def test_a_full_pool_is_a_timeout(silent: Callable[..., RawServer], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lane, "CONNECTIONS", 1)
    held = threading.Event()
    server = silent(holding(held))
    with ThreadPoolExecutor() as other, Client(server.url, max_retries=0) as client:
        other.submit(get, client)
        held.wait()
        with pytest.raises(APITimeoutError, match="calls are under way") as raised:
            get(client.with_options(timeout=POOL))
        stop.set()
    assert not raised.value.sent


async def test_a_full_pool_is_a_timeout_in_async_code(
    silent: Callable[..., RawServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_async_lane, "CONNECTIONS", 1)
    held = threading.Event()
    server = silent(holding(held))
    async with AsyncClient(server.url, max_retries=0) as client:
        first = asyncio.create_task(client.sessions.get("s-1"))
        await asyncio.to_thread(held.wait)
        with pytest.raises(APITimeoutError, match="calls are under way") as raised:
            await client.with_options(timeout=POOL).sessions.get("s-1")
        stop.set()
        with pytest.raises(APIConnectionError):
            await first
    assert not raised.value.sent
