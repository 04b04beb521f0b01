"""The lane with calls that are cancelled or interrupted, and with threads: no call gets another's answer."""

import asyncio
import signal
import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import numpy as np
import pytest
from optim_client import AsyncClient, Client

from tests.client.raw import Handler, RawServer, read_request, until_closed
from tests.client.raw_service import (
    LARGE,
    assert_next_call_is_answered,
    get,
    named,
    read_only_the_head,
    session_then,
    step_answer,
)


def takes_it(link: socket.socket) -> None:
    read_request(link)


def sends_half(link: socket.socket) -> None:
    read_request(link)
    whole = step_answer(LARGE)
    link.sendall(whole[: len(whole) // 2])


PHASES: dict[str, tuple[Any, Handler]] = {
    "sending": (LARGE, read_only_the_head),
    "waiting": ({"w": np.float32(1)}, takes_it),
    "receiving": (LARGE, sends_half),
}


@pytest.mark.parametrize("phase", PHASES)
async def test_a_cancelled_call_ends_its_connection(phase: str) -> None:
    grads, begin = PHASES[phase]
    begun, ended = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def handler(link: socket.socket) -> None:
        begin(link)
        loop.call_soon_threadsafe(begun.set)
        until_closed(link)
        ended.set()

    with RawServer(session_then(handler), named) as server:
        async with AsyncClient(server.url, max_retries=0) as client:
            session = await client.sessions.get("s-1")
            call = asyncio.create_task(session.step(grads=grads))
            await begun.wait()
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert await asyncio.to_thread(ended.wait, 10)
            assert (await client.sessions.get("next")).id == "next"
            assert session.info.step == 41
    assert server.connections == 2


async def test_a_call_that_is_cancelled_before_it_begins_sends_nothing() -> None:
    with RawServer(named) as server:
        async with AsyncClient(server.url) as client:
            call = asyncio.create_task(client.sessions.get("s-1"))
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert (await client.sessions.get("next")).id == "next"


@pytest.mark.long
async def test_a_thousand_cancelled_calls_leave_no_answer_or_thread() -> None:
    with RawServer(*[named] * 1100) as server:
        async with AsyncClient(server.url, max_retries=0) as client:
            for number in range(100):
                calls = [asyncio.create_task(client.sessions.get(f"{number}-{one}")) for one in range(10)]
                await asyncio.sleep(0.0001 * (number % 10))
                for call in calls[::2]:
                    call.cancel()
                got = await asyncio.gather(*calls, return_exceptions=True)
                for one, session in enumerate(got):
                    assert isinstance(session, asyncio.CancelledError) or session.id == f"{number}-{one}"  # type: ignore[union-attr]
    for thread in threading.enumerate():
        if thread.name.startswith("optim-client"):
            thread.join(10)
            assert not thread.is_alive()


def test_an_interrupt_ends_the_connection() -> None:
    main = threading.get_ident()

    def interrupt(link: socket.socket) -> None:
        read_request(link)
        signal.pthread_kill(main, signal.SIGINT)
        assert until_closed(link) == 0

    with RawServer(interrupt, named) as server, Client(server.url, max_retries=0) as client:
        with pytest.raises(KeyboardInterrupt):
            get(client)
        assert_next_call_is_answered(client, server)


def test_an_interrupt_leaves_no_lock_taken() -> None:
    """A signal's handler may raise at the return of a Python function; a lock taken by that one would stay taken."""
    interrupted: list[str] = []

    def interrupt(frame: FrameType, event: str, _: Any) -> None:
        if event == "return" and frame.f_code is threading.Condition.__enter__.__code__:
            sys.setprofile(None)
            interrupted.append(frame.f_code.co_qualname)
            raise KeyboardInterrupt

    with RawServer(*[named] * 2) as server, Client(server.url, max_retries=0) as client:
        sys.setprofile(interrupt)
        try:
            get(client)
        except KeyboardInterrupt:
            pass
        finally:
            sys.setprofile(None)
    assert not interrupted


def test_threads_share_a_client_and_each_gets_its_own_answers() -> None:
    ids = [str(number) for number in range(400)]
    with (
        RawServer(*[named] * 8) as server,
        Client(server.url, max_retries=0) as client,
        ThreadPoolExecutor(8) as threads,
    ):
        assert list(threads.map(lambda one: get(client, one), ids)) == ids
