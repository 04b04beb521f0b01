"""Both clients against a real server that misbehaves on purpose: what is sent again, raised, and written."""

import asyncio
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from optim_client import (
    APIConnectionError,
    APITimeoutError,
    AsyncClient,
    Client,
    InternalServerError,
    StepConflict,
    _protocol,
)
from optim_client._protocol import Patience

from tests.client.conftest import Connect
from tests.client.documents import SESSION, stepped
from tests.client.scripted import DROP, Answer, ScriptedServer

W = {"w": np.float32([1, 2])}
SESSION_ANSWER = Answer(body=json.dumps(SESSION).encode())
AGAIN = {"Retry-After": "0"}
BUSY = Answer(503, b'{"code": "overloaded", "detail": "busy"}', AGAIN)
STEPPED = Answer(body=stepped(W, step=42).body)


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_protocol, "FIRST_WAIT_SECONDS", 0.01)


def session_of(client: Any) -> Any:
    return client.sessions.get("s-1")


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


def test_a_closed_port_is_an_unsent_connection_error(connect: Connect) -> None:
    with ScriptedServer() as server:
        pass
    client = connect(server.url.replace("//", "//user:secret@"), max_retries=0)
    with pytest.raises(APIConnectionError, match="is the service running there") as raised:
        client.sessions.get("s-1")
    assert not raised.value.sent
    assert "secret" not in str(raised.value)
    assert not client.ready()


def test_a_client_waits_for_a_service_that_starts_late(connect: Connect) -> None:
    with ScriptedServer() as closed:
        pass
    client = connect(closed.url, max_retries=8)
    with ThreadPoolExecutor() as other:
        created = other.submit(client.sessions.create, "adamw")
        time.sleep(0.2)
        with ScriptedServer(SESSION_ANSWER, port=int(closed.url.rpartition(":")[2])):
            assert created.result().id == "s-1"


def test_a_late_answer_is_a_timeout(connect: Connect) -> None:
    with ScriptedServer(Answer(late=5)) as server:
        client = connect(server.url).with_options(timeout=0.05, max_retries=0)
        with pytest.raises(APITimeoutError, match="no answer in time"):
            client.sessions.get("s-1")


def test_options_are_for_the_copy_alone(connect: Connect) -> None:
    with ScriptedServer(SESSION_ANSWER, BUSY, BUSY, SESSION_ANSWER) as server:
        client = connect(server.url)
        hasty = client.with_options(max_retries=0)
        hasty.sessions.get("s-1")
        with pytest.raises(Exception, match="busy"):
            hasty.sessions.get("s-1")
        assert client.sessions.get("s-1").id == "s-1"
        assert (client.retry_seconds, client.max_retries, client.timeout) == (120, None, httpx2.Timeout(60, connect=5))
        assert (hasty.retry_seconds, hasty.max_retries, hasty.timeout) == (math.inf, 0, client.timeout)


@pytest.mark.parametrize(
    ("options", "patience"),
    [
        ({}, Patience(120)),
        ({"max_retries": 5}, Patience(math.inf, 5)),
        ({"retry_seconds": 600}, Patience(600)),
        ({"retry_seconds": 60, "max_retries": 5}, Patience(60, 5)),
        ({"retry_seconds": 0}, Patience(0)),
        ({"retry_seconds": math.inf}, Patience(math.inf)),
    ],
)
def test_a_client_retries_for_a_time_or_a_count(
    connect: Connect, options: dict[str, float], patience: Patience
) -> None:
    assert connect("http://127.0.0.1:1", **options).patience == patience
    client = connect("http://127.0.0.1:1", max_retries=9, retry_seconds=9)
    assert client.with_options(**options).patience == (patience if options else Patience(9, 9))


@pytest.mark.parametrize("bad", [{"max_retries": -1}, {"retry_seconds": -1}, {"retry_seconds": math.nan}])
def test_limits_below_zero_are_refused(connect: Connect, bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(bad))} must be 0 or more, not "):
        connect("http://127.0.0.1:1", **bad)
    with pytest.raises(ValueError, match="must be 0 or more"):
        connect("http://127.0.0.1:1").with_options(**bad)


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


def test_every_request_says_who_asks(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    with ScriptedServer(*[SESSION_ANSWER] * 3) as server:
        connect(server.url).sessions.get("s-1")
        connect(server.url, api_key="k1").sessions.get("s-1")
        monkeypatch.setenv("OPTIM_API_KEY", "k2")
        monkeypatch.setenv("OPTIM_BASE_URL", server.url)
        connect().sessions.get("s-1")
    assert [seen.headers.get("authorization") for seen in server.seen] == [None, "Bearer k1", "Bearer k2"]
    assert all(seen.headers["user-agent"].startswith("optim-client/") for seen in server.seen)


def test_a_service_below_a_path_is_found(connect: Connect) -> None:
    with ScriptedServer(SESSION_ANSWER) as server:
        connect(f"{server.url}/optim/").sessions.get("s-1")
    assert server.seen[0].path == "/optim/v1/sessions/s-1"


@pytest.mark.parametrize("url", ["localhost:8000", "redis://127.0.0.1", "lmdb:", "memory:x", "ftp://host"])
def test_an_unknown_address_is_refused(connect: Connect, url: str) -> None:
    with pytest.raises(ValueError, match=r"unknown base_url .*; expected one of http:"):
        connect(url)


def test_pages_are_followed_to_the_last(connect: Connect) -> None:
    def page(ids: list[str], cursor: str | None) -> Answer:
        sessions = [{**SESSION, "id": one} for one in ids]
        return Answer(body=json.dumps({"sessions": sessions, "next_cursor": cursor}).encode())

    with ScriptedServer(page(["c", "b"], "x/y"), page([], "z"), page(["a"], None), page(["c"], "b")) as server:
        client = connect(server.url)
        assert [session.id for session in client.sessions] == ["c", "b", "a"]
        first = client.sessions.list(limit=1)
    assert ([session.id for session in first.sessions], first.next_cursor) == (["c"], "b")
    assert [seen.path.partition("?")[2] for seen in server.seen] == ["", "cursor=x%2Fy", "cursor=z", "limit=1"]


def test_a_state_arrives_whole_although_the_first_try_breaks_off(connect: Connect, tmp_path: Path) -> None:
    state = np.random.default_rng(0).bytes(3_000_000)
    with ScriptedServer(SESSION_ANSWER, Answer(body=state, cut=2_000_000), Answer(body=state[:1000])) as server:
        session_of(connect(server.url)).save_state(tmp_path / "state")
    assert (tmp_path / "state").read_bytes() == state[:1000]


def test_a_failed_download_leaves_only_the_old_file(connect: Connect, tmp_path: Path) -> None:
    (tmp_path / "state").write_bytes(b"old")
    damaged = Answer(500, b'{"code": "state_damaged", "detail": "damaged"}', {"X-Should-Retry": "false"})
    with ScriptedServer(SESSION_ANSWER, damaged) as server, pytest.raises(InternalServerError, match="damaged"):
        session_of(connect(server.url)).save_state(tmp_path / "state")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"state": b"old"}


def test_an_upload_is_sent_whole_at_every_try(connect: Connect, tmp_path: Path) -> None:
    state = np.random.default_rng(0).bytes(3_000_000)
    (tmp_path / "state").write_bytes(state)
    moved = Answer(body=json.dumps({**SESSION, "step": 7}).encode())
    with ScriptedServer(SESSION_ANSWER, BUSY, DROP, Answer(204), moved) as server:
        session = session_of(connect(server.url))
        session.load_state(tmp_path / "state")
    assert [seen.body == state for seen in server.seen] == [False, True, True, True, False]
    assert server.seen[1].headers["content-length"] == "3000000"
    assert "transfer-encoding" not in server.seen[1].headers
    assert session.info.step == 7


def test_a_state_file_that_is_not_there_is_not_sent(connect: Connect, tmp_path: Path) -> None:
    with ScriptedServer(SESSION_ANSWER) as server:
        session = session_of(connect(server.url))
        with pytest.raises(FileNotFoundError):
            session.load_state(tmp_path / "none")


def test_a_transport_of_ones_own_is_used() -> None:
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, json=SESSION))
    with Client("http://service.example", transport=transport) as client:
        assert client.sessions.get("s-1").id == "s-1"


async def test_async_calls_wait_without_blocking_each_other() -> None:
    slow = [Answer(body=SESSION_ANSWER.body, late=1)] * 3
    with ScriptedServer(*slow) as server:
        async with AsyncClient(server.url) as client:
            calls = [asyncio.create_task(client.sessions.get("s-1")) for _ in slow]
            while len(server.seen) < len(slow):  # noqa: ASYNC110 (the server is a thread)
                await asyncio.sleep(0.01)
            assert not any(call.done() for call in calls)  # the last was sent before the first was answered
            await asyncio.gather(*calls)
