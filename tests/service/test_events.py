"""The events of a session over HTTP: every step and mark once, in order, behind the last one that was received."""

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Client

from app import auth, streams
from app.main import create_app
from app.routes import events
from app.settings import Settings
from tests.durability.processes import ServerProcess
from tests.service.calls import W, create, patched, problem, stepped
from tests.service.followers import following
from tests.stores import DURABLE, STORES
from tests.web.sockets import TIMEOUT_SECONDS, listening, wait_until


@contextmanager
def serving(**settings: Any) -> Iterator[Client]:
    """A client of the service behind a real socket."""
    app = create_app(Settings(**{"store": "memory:"} | settings))
    with listening(app) as (host, port), Client(base_url=f"http://{host}:{port}", timeout=TIMEOUT_SECONDS) as client:
        yield client


@pytest.fixture(params=list(STORES))
def client(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Iterator[Client]:
    with serving(store=STORES[request.param](tmp_path, lambda: redis_url)) as client:
        yield client


def history(client: Client, session: str) -> list[Any]:
    return list(client.get(f"{session}/history").json()["history"])


def test_each_step_undo_and_change_is_an_event(client: Client) -> None:
    session = create(client, undo=1)
    with following(client, session) as follower:
        (place,) = follower.next()
        assert (place.kind, place.number) == ("", 1)
        stepped(client, session, **W, loss=0.5)
        (first,) = follower.next()
        assert (first.kind, first.data) == ("step", history(client, session)[0])
        stepped(client, session, **W, loss=0.25)
        assert client.post(f"{session}/undo", json={"step": 2}).status_code == 200
        patched(client, session, hyperparameters={"lr": 0.5})
        second, undo, settings = follower.next(3)
        assert (second.kind, second.data["step"], second.data["loss"]) == ("step", 2, 0.25)
        assert (undo.kind, undo.data["step"], undo.data["undone"]) == ("undo", 1, 2)
        assert settings.kind == settings.data["event"] == "settings"
        assert settings.data["changed"] == {"hyperparameters.lr": [0.001, 0.5]}
    numbers = [event.number for event in (place, first, second, undo, settings)]
    assert numbers == sorted({*numbers})


def test_a_stream_resumes_behind_the_last_event_without_a_gap(client: Client) -> None:
    session = create(client)
    for _ in range(5):
        stepped(client, session, **W)
    with following(client, session, after=0) as follower:
        seen = follower.next(3)
    stepped(client, session, **W)
    with following(client, session, after=seen[-1].number) as follower:
        place, *rest = follower.next(5)
    assert place.number == seen[-1].number
    assert [event.data["step"] for event in (*seen[1:], *rest)] == [1, 2, 3, 4, 5, 6]


def test_a_long_history_comes_whole_and_in_order(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "PAGE", 4)
    session = create(client)
    for _ in range(18):
        stepped(client, session, **W)
    with following(client, session, after=0) as follower:
        assert [event.data["step"] for event in follower.next(19)[1:]] == list(range(1, 19))


def test_the_stream_of_a_deleted_session_ends(client: Client) -> None:
    session = create(client)
    with following(client, session) as follower:
        follower.next()
        assert client.delete(session).status_code == 204
        assert list(follower) == []
    problem(client.get(f"{session}/events"), 404, "session_not_found")


@pytest.fixture(params=DURABLE)
def two(request: pytest.FixtureRequest, tmp_path: Path, redis_url: str) -> Iterator[tuple[Client, Client]]:
    """Clients of two server processes on one store."""
    url = STORES[request.param](tmp_path, lambda: redis_url)
    servers = [ServerProcess(url, tmp_path / f"log-{number}") for number in range(2)]
    with ExitStack() as stack:
        for server in servers:
            stack.callback(server.kill)
            server.start()
        first, second = (stack.enter_context(Client(base_url=server.url, timeout=30)) for server in servers)
        yield first, second


@pytest.mark.long
def test_saves_of_another_process_are_found(two: tuple[Client, Client]) -> None:
    here, there = two
    session = create(here)
    with following(here, session) as follower:
        follower.next()
        for client in (there, here, there):
            stepped(client, session, **W)
        assert [event.data["step"] for event in follower.next(3)] == [1, 2, 3]
        assert there.delete(session).status_code == 204
        assert list(follower) == []


def test_an_expired_session_ends_its_stream(client: Client) -> None:
    session = create(client, ttl_seconds=1)
    with following(client, session) as follower:
        assert [event.kind for event in follower] == [""]


def test_silence_is_broken_by_comments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "ALIVE_SECONDS", 0.05)
    with serving() as client:
        session = create(client)
        with following(client, session) as follower:
            follower.next()
            time.sleep(0.3)
            stepped(client, session, **W)
            assert follower.next()[0].kind == "step"
            assert {*follower.comments} == {": alive"}


def test_a_stop_ends_every_stream_at_once() -> None:
    begun, ended = list[int](), list[float]()

    def follow(url: str, session: str) -> None:
        with Client(base_url=url) as client, following(client, session) as follower:
            begun.append(follower.next()[0].number)
            assert list(follower) == []
            ended.append(time.monotonic())

    with serving() as client:
        session = create(client)
        threads = [threading.Thread(target=follow, args=(str(client.base_url), session)) for _ in range(3)]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(begun) == 3, lambda: begun)
        stopped = time.monotonic()
    for thread in threads:
        thread.join()
    assert len(ended) == 3
    assert max(ended) - stopped < 0.9  # uvicorn gives a request a second


def test_one_stream_too_many_is_refused_until_a_client_leaves() -> None:
    with serving(max_streams=1) as client:
        session = create(client)
        with following(client, session) as follower:
            follower.next()
            refusal = client.get(f"{session}/events")
            assert "OPTIM_MAX_STREAMS" in problem(refusal, 503, "overloaded")["detail"]
        wait_until(lambda: client.head(f"{session}/events").status_code == 200, lambda: "the place was not given back")


@pytest.mark.parametrize("given", ["", "x", "-1", "1.5", "١", "9" * 20])
def test_a_last_event_id_that_is_no_number_is_refused(given: str) -> None:
    with serving() as client:
        refusal = client.get(f"{create(client)}/events", headers={"last-event-id": given.encode()})
        assert "Last-Event-ID" in problem(refusal, 400, "malformed_header")["detail"]


def test_a_place_ahead_of_the_session_is_its_own() -> None:
    """Begin at the session's number, which a restored backup sets back: else its next steps were left out."""
    with serving() as client:
        session = create(client)
        with following(client, session, after=1000) as follower:
            assert follower.next()[0].number == 1
            stepped(client, session, **W)
            assert follower.next()[0].data["step"] == 1


def test_head_is_answered_without_a_stream() -> None:
    with serving(max_streams=2) as client:
        session = create(client)
        with following(client, session) as follower:
            names = {*follower.answer.headers} - {"transfer-encoding"}
        for _ in range(3):
            head = client.head(f"{session}/events")
            assert (head.status_code, {*head.headers}) == (200, names)
        assert head.headers["content-type"].startswith("text/event-stream")
        assert head.headers["cache-control"] == "no-store"


def test_a_stream_counts_once_in_the_rate_limit() -> None:
    with serving(rate_limit="20/hour") as client:
        session = create(client)
        with following(client, session) as follower:
            assert "r=18" in follower.answer.headers["ratelimit"]
            for _ in range(3):
                stepped(client, session, **W)
            follower.next(4)
        assert "r=14" in client.get(session).headers["ratelimit"]


def test_a_revoked_key_ends_its_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "ALIVE_SECONDS", 0.05)
    monkeypatch.setattr(auth, "LOOK_SECONDS", 0.0)
    row = {"sha256": hashlib.sha256(b"secret").hexdigest(), "tenant": "lab", "role": "write"}
    other = row | {"sha256": hashlib.sha256(b"other").hexdigest()}
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"keys": [row, other]}))
    with serving(api_keys_file=file) as client:
        client.headers["authorization"] = "Bearer secret"
        session = create(client)
        with following(client, session) as follower:
            follower.next()
            file.write_text(json.dumps({"keys": [other]}))
            assert list(follower) == []
        problem(client.get(f"{session}/events"), 401, "unauthenticated")


@pytest.mark.long
def test_a_slow_reader_gets_every_event() -> None:
    with serving() as client:
        session = create(client)
        with following(client, session) as follower:
            follower.next()
            for _ in range(400):
                stepped(client, session, **W, loss=0.5)
            assert [event.data["step"] for event in follower.next(400)] == list(range(1, 401))
