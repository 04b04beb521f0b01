"""Both clients against a server that misbehaves on purpose: the requests, the errors and the log."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from optim_client import APIConnectionError, AsyncClient, StepConflict

from tests.client.conftest import Connect
from tests.client.documents import W
from tests.client.scripted import BUSY, DROP, SESSION_ANSWER, STEPPED, Answer, ScriptedServer, session_of

pytestmark = pytest.mark.usefixtures("_short_waits")


def test_one_key_and_one_body_go_over_all_tries(connect: Connect) -> None:
    with ScriptedServer(SESSION_ANSWER, DROP, BUSY, STEPPED) as server:
        session = session_of(connect(server.url))
        params = session.step(W, W, loss=0.5)
    tries = server.seen[1:]
    assert len(tries) == 3
    assert len({(seen.path, seen.headers["idempotency-key"], seen.body) for seen in tries}) == 1
    assert np.array_equal(params["w"], W["w"])
    assert session.info.step == 42


def test_an_answer_that_breaks_off_is_asked_for_again(connect: Connect) -> None:
    cut = Answer(body=STEPPED.body, cut=len(STEPPED.body) - 1)
    with ScriptedServer(SESSION_ANSWER, cut, STEPPED) as server:
        assert np.array_equal(session_of(connect(server.url)).step(W, W)["w"], W["w"])


def test_a_step_without_an_answer_leaves_the_known_step(connect: Connect) -> None:
    with ScriptedServer(SESSION_ANSWER, DROP) as server:
        session = session_of(connect(server.url, max_retries=0))
        with pytest.raises(APIConnectionError, match=r"POST http://.*/v1/sessions/s-1/steps: no answer") as raised:
            session.step(W, W)
    assert raised.value.sent
    assert session.info.step == 41


def test_a_client_waits_for_a_service_that_starts_late(connect: Connect) -> None:
    with ScriptedServer() as closed:
        pass
    client = connect(closed.url, max_retries=8)
    with ThreadPoolExecutor() as other:
        created = other.submit(client.sessions.create, "adamw")
        time.sleep(0.2)
        with ScriptedServer(SESSION_ANSWER, port=int(closed.url.rpartition(":")[2])):
            assert created.result().id == "s-1"


def test_a_retried_creation_keeps_its_key(connect: Connect) -> None:
    with ScriptedServer(DROP, SESSION_ANSWER) as server:
        assert connect(server.url).sessions.create("adamw").id == "s-1"
    assert len({(seen.method, seen.path, seen.headers["idempotency-key"], seen.body) for seen in server.seen}) == 1


def test_a_client_logs_the_begin_and_end_of_waiting(connect: Connect, caplog: pytest.LogCaptureFixture) -> None:
    with ScriptedServer(DROP, BUSY, SESSION_ANSWER) as server:
        session_of(connect(server.url))
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith(f"GET {server.url}/v1/sessions/s-1: no answer (")
    assert caplog.messages[0].endswith("; trying again, for 120 s")
    assert caplog.messages[1].startswith("GET /v1/sessions/s-1: answered, ")


def test_a_deletion_whose_answer_was_lost_is_done(connect: Connect) -> None:
    with ScriptedServer(SESSION_ANSWER, DROP, Answer(404, b'{"code": "session_not_found"}')) as server:
        session_of(connect(server.url)).delete()
    assert [seen.method for seen in server.seen] == ["GET", "DELETE", "DELETE"]


def test_a_conflict_is_raised_at_once_and_changes_nothing(connect: Connect) -> None:
    body = b'{"code": "step_conflict", "detail": "behind", "current_step": 50}'
    with ScriptedServer(SESSION_ANSWER, Answer(409, body, {"X-Should-Retry": "false", "X-Request-ID": "r1"})) as server:
        session = session_of(connect(server.url))
        with pytest.raises(StepConflict, match="request r1") as raised:
            session.step(W, W)
    assert (raised.value.current_step, session.info.step, len(server.seen)) == (50, 41, 2)


async def test_async_calls_wait_without_blocking_each_other() -> None:
    slow = [Answer(body=SESSION_ANSWER.body, late=1)] * 3
    with ScriptedServer(*slow) as server:
        async with AsyncClient(server.url) as client:
            calls = [asyncio.create_task(client.sessions.get("s-1")) for _ in slow]
            while len(server.seen) < len(slow):  # noqa: ASYNC110 (the server is a thread)
                await asyncio.sleep(0.01)
            assert not any(call.done() for call in calls)  # the last was sent before the first was answered
            await asyncio.gather(*calls)
