"""One session used from many threads, tasks and processes: steps in turn, or refused, and never a wrong number."""

import asyncio
import pickle
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from optim_client import AsyncClient, Client, StepUnderWay
from optim_client._state import SessionState
from optim_client._turn import Turn
from optim_client.documents import SessionInfo

from app.demo.server import Server
from tests.client.documents import SESSION, W
from tests.client.scripted import SESSION_ANSWER, STEPPED, Answer, ScriptedServer

ONE = {"w": np.float32([1])}
SLOW = Answer(body=STEPPED.body, late=0.5)


def wait_for_step(server: ScriptedServer) -> None:
    while len(server.seen) < 2:
        threading.Event().wait(0.005)


def test_a_second_thread_may_not_step_at_the_same_time() -> None:
    with (
        ScriptedServer(SESSION_ANSWER, SLOW, STEPPED) as server,
        Client(server.url, max_retries=0) as client,
        ThreadPoolExecutor(1) as other,
    ):
        session = client.sessions.get("s-1")
        first = other.submit(session.step, W, W)
        wait_for_step(server)
        with pytest.raises(StepUnderWay, match=r"step 42 of session s-1 .* hold_params=True .* session\.f") as raised:
            session.step(W, W)
        assert pickle.loads(pickle.dumps(raised.value)).number == 42
        first.result()
        assert (session.info.step, len(server.seen)) == (42, 2)


async def test_a_second_task_may_not_step_at_the_same_time() -> None:
    with ScriptedServer(SESSION_ANSWER, SLOW, STEPPED) as server:
        async with AsyncClient(server.url, max_retries=0) as client:
            session = await client.sessions.get("s-1")
            got = await asyncio.gather(session.step(W, W), session.step(W, W), return_exceptions=True)
            assert isinstance(got[1], StepUnderWay)
            assert np.array_equal(got[0]["w"], W["w"])
            assert (session.info.step, len(server.seen)) == (42, 2)


def assert_each_step_was_taken_once(taken: list[Any], final: Any) -> None:
    """Check that steps by a gradient of 1 with lr=1 were answered with -1, -2, …, each once."""
    count = len(taken)
    assert sorted(float(params["w"][0]) for params in taken) == [*range(-count, 0)]
    assert float(final["w"][0]) == -count


@pytest.mark.long
def test_steps_of_many_threads_wait_for_each_other(server: Server) -> None:
    with Client(server.url) as client, ThreadPoolExecutor(8) as threads:
        session = client.sessions.create("sgd", lr=1.0, hold_params=True)
        session.put_params({"w": np.float32([0])})
        taken = list(threads.map(lambda _: session.step(grads=ONE), range(100)))
        assert_each_step_was_taken_once(taken, session.params())
        assert session.info.step == session.get().step == 100


@pytest.mark.long
async def test_steps_of_many_tasks_wait_for_each_other(server: Server) -> None:
    async with AsyncClient(server.url) as client:
        session = await client.sessions.create("sgd", lr=1.0, hold_params=True)
        await session.put_params({"w": np.float32([0])})
        taken = await asyncio.gather(*(session.step(grads=ONE) for _ in range(100)))
        assert_each_step_was_taken_once(taken, await session.params())
        assert session.info.step == (await session.get()).step == 100


@pytest.mark.long
def test_a_thread_that_reads_never_moves_a_step_back(server: Server) -> None:
    over = threading.Event()
    with Client(server.url) as client, ThreadPoolExecutor(4) as threads:
        session = client.sessions.create("sgd", lr=1.0, hold_params=True)
        session.put_params({"w": np.float32([0])})

        def read() -> None:
            while not over.is_set():
                session.get()
                session.update(labels={"seen": "yes"})

        readers = [threads.submit(read) for _ in range(3)]
        try:
            taken = [session.step(grads={"w": np.float32([1])}) for _ in range(200)]
        finally:
            over.set()
        for reader in readers:
            reader.result()
        assert_each_step_was_taken_once(taken, session.params())


def test_a_signal_handler_may_read_the_session_during_a_step() -> None:
    with (
        ScriptedServer(SESSION_ANSWER, SLOW, SESSION_ANSWER) as server,
        Client(server.url, max_retries=0) as client,
    ):
        session = client.sessions.get("s-1")
        before = signal.signal(signal.SIGALRM, lambda *_: session.get())
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            session.step(W, W)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert (session.info.step, len(server.seen)) == (42, 3)


def test_an_interrupted_step_leaves_its_turn() -> None:
    turn, session = Turn(), SessionState(SessionInfo.read(SESSION))
    count = 0

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        for number in range(2000):
            try:
                signal.setitimer(signal.ITIMER_REAL, 1e-6 * (1 + number % 50))
                while True:
                    with turn.step(session):
                        pass
            except KeyboardInterrupt:
                count += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert count == 2000
    with turn.step(session), pytest.raises(StepUnderWay), turn.step(session):
        pass
