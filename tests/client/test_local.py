"""A service that runs in the process of its client."""

import asyncio
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest
from optim_client import APIConnectionError, AsyncClient, Client, SessionNotFound

from tests.client.conftest import Connect
from tests.client.training import bits, some_params, train


def ended(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=30)


def test_each_memory_client_has_a_service_of_its_own(connect: Connect) -> None:
    session = connect("memory:").sessions.create("sgd", lr=0.1)
    with pytest.raises(SessionNotFound):
        connect("memory:").sessions.get(session.id)


def test_a_folder_keeps_its_sessions_between_clients(
    connect: Connect, unbroken: dict[str, Any], tmp_path: Path
) -> None:
    first = connect(f"lmdb:{tmp_path}")
    session = first.sessions.create("adamw", lr=0.01)
    params = train(session, some_params(), range(1, 6))
    first.close()
    again = connect(f"lmdb:{tmp_path}").sessions.get(session.id)
    assert bits(train(again, params, range(6, 11))) == unbroken


def test_an_unusable_folder_is_an_error_at_once(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(Exception, match="file"):
        connect(f"lmdb:{tmp_path / 'file'}")


def test_a_local_client_without_the_server_names_the_package() -> None:
    code = "import sys; sys.modules['app'] = None; import optim_client; optim_client.Client('memory:')"
    assert (
        "`pip install ./clients/python .` in a clone of its repository, or give the URL of a service"
        in ended(code).stderr
    )


@pytest.mark.long
def test_a_process_ends_although_its_local_client_was_not_closed() -> None:
    code = (
        "from optim_client import Client\n"
        "session = Client('memory:').sessions.create('sgd', lr=1.0)\n"
        "print(session.step({'w': [1.0]}, {'w': [1.0]}))"
    )
    result = ended(code)
    assert (result.returncode, result.stdout, result.stderr) == (0, "{'w': array([0.])}\n", "")


class Stuck:
    """An HTTPX transport whose exchange never ends."""

    def __init__(self) -> None:
        self.begun = threading.Event()

    async def exchange(self, *_: object) -> None:
        self.begun.set()
        await asyncio.Event().wait()

    async def close(self) -> None:
        """Close nothing."""


def test_closing_ends_a_call_as_a_connection_error() -> None:
    client = Client("memory:", max_retries=9)
    stuck = Stuck()
    client._transport._service._httpx = stuck  # type: ignore[attr-defined]
    with ThreadPoolExecutor() as other:
        call = other.submit(client.sessions.list)
        assert stuck.begun.wait(10)
        client.close()
        with pytest.raises(APIConnectionError, match="GET /v1/sessions: the client was closed"):
            call.result(10)


def test_closing_ends_events_that_are_waited_for() -> None:
    client = Client("memory:")
    events = client.sessions.create("sgd", lr=0.1).events()
    with ThreadPoolExecutor() as other:
        waiting = other.submit(next, events)
        time.sleep(0.2)
        client.close()
        with pytest.raises(RuntimeError, match="the client is closed"):
            waiting.result(10)


def test_closing_ends_a_call_that_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    client = Client("memory:", max_retries=9)
    service = client._transport._service  # type: ignore[attr-defined]
    service._httpx = Stuck()
    hand_over, begun = service._loop.call_soon_threadsafe, threading.Event()

    def slowly(*given: Any) -> Any:
        begun.set()
        time.sleep(0.2)
        return hand_over(*given)

    monkeypatch.setattr(service._loop, "call_soon_threadsafe", slowly)
    with ThreadPoolExecutor() as other:
        call = other.submit(client.sessions.list)
        assert begun.wait(10)
        client.close()
        with pytest.raises(APIConnectionError, match="the client was closed"):
            call.result(10)


def test_each_of_two_closes_waits_for_the_service_to_end(tmp_path: Path) -> None:
    client = Client(f"lmdb:{tmp_path}")
    service = client._transport._service  # type: ignore[attr-defined]
    with ThreadPoolExecutor() as others:
        for closing in [others.submit(client.close) for _ in range(2)]:
            closing.result(10)
            assert not service._thread.is_alive()


async def test_closing_ends_an_async_call_without_cancelling_its_task() -> None:
    client = AsyncClient("memory:", max_retries=9)
    stuck = Stuck()
    client._transport._service._httpx = stuck  # type: ignore[attr-defined]
    call = asyncio.create_task(client.sessions.list())
    assert await asyncio.to_thread(stuck.begun.wait, 10)
    await client.close()
    with pytest.raises(APIConnectionError, match="the client was closed"):
        await call


@pytest.mark.long
def test_a_signal_handler_may_call_during_a_call() -> None:
    seen: list[int] = []
    with Client("memory:") as client:
        session = client.sessions.create("sgd", lr=1, hold_params=True)
        session.put_params({"w": np.float32([0])})
        before = signal.signal(signal.SIGALRM, lambda *_: seen.append(session.get().step))
        try:
            for number in range(1, 101):
                signal.setitimer(signal.ITIMER_REAL, 2e-5 * number)
                session.step(grads={"w": np.float32([number])})
                signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert seen
        assert session.params()["w"].tolist() == [-5050]


def test_a_handlers_call_while_a_lock_is_taken_is_answered() -> None:
    """`Condition.wait` begins with a lock taken: a handler may run there, and the loop needs that lock."""
    client = Client("memory:")
    session = client.sessions.create("sgd", lr=1, hold_params=True)
    session.put_params({"w": np.float32([0])})

    def handle(frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code is threading.Condition.wait.__code__:
            sys.setprofile(None)
            session.get()

    def step() -> None:
        sys.setprofile(handle)
        session.step(grads={"w": np.float32([1])})
        sys.setprofile(None)

    thread = threading.Thread(target=step, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    client.close()
