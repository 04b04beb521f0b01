"""Following a session, by both clients: over a socket, and in this process."""

import gc
import socket
from typing import Any

import numpy as np
import pytest
from optim_client import Client, InvalidAnswer, Overloaded, SessionNotFound, _following, _http

from tests.client.conftest import Connect
from tests.client.raw import RawServer, answers, read_request
from tests.client.raw_service import SESSION_BYTES
from tests.client.scripted import DROP, SESSION_ANSWER, Answer, ScriptedServer, session_of
from tests.client.test_following import ROW_TEXT, UNDO_TEXT

W = {"w": np.float32([1])}
STREAM = {"Content-Type": "text/event-stream"}
BEGUN = b"retry: 1000\nid: 5\n\n"
GONE = Answer(404, b'{"code": "session_not_found", "detail": "gone"}')
FULL = Answer(503, b'{"code": "overloaded", "detail": "too many streams"}', {"Retry-After": "0"})


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch, _short_waits: None) -> None:
    monkeypatch.setattr(_following, "PAUSE_SECONDS", 0.01)


def streamed(*events: bytes) -> Answer:
    """Return an answer that breaks off behind the events."""
    return Answer(body=b"".join(events), headers=STREAM, cut=1 << 20)


def test_a_follower_sees_what_another_client_does(client: Any) -> None:
    session = client.sessions.create("sgd", lr=0.1, undo=1)
    session.step(W, W, loss=0.5)
    with session.events(after=0) as events:
        first = next(iter(events))
        assert (first.kind, first.step, first.row.loss) == ("step", 1, 0.5)
        session.step(W, W, loss=0.25)
        session.undo()
        session.update(lr=0.5)
        iterator = iter(events)
        second, undo, settings = (next(iterator) for _ in range(3))
        assert (second.row.loss, undo.mark.undone, undo.step) == (0.25, 2, 1)
        assert settings.mark.changed == {"hyperparameters.lr": (0.1, 0.5)}
    assert first.number < second.number < undo.number < settings.number


def test_the_events_of_a_deleted_session_end(client: Any) -> None:
    session = client.sessions.create("sgd", lr=0.1)
    session.step(W, W)
    events = iter(session.events(after=0))
    assert next(events).step == 1
    session.delete()
    assert list(events) == []


def test_the_events_of_no_session_are_an_error(client: Any) -> None:
    session = client.sessions.create("sgd", lr=0.1)
    session.delete()
    with pytest.raises(SessionNotFound):
        next(iter(session.events()))


def test_after_a_broken_stream_the_next_continues(connect: Connect) -> None:
    script = SESSION_ANSWER, FULL, streamed(BEGUN, ROW_TEXT), DROP, streamed(BEGUN, UNDO_TEXT[:-1]), streamed(UNDO_TEXT)
    with ScriptedServer(*script, GONE) as server:
        events = iter(session_of(connect(server.url)).events())
        assert [(event.number, event.kind) for event in events] == [(6, "step"), (7, "undo")]
    assert [seen.headers.get("last-event-id") for seen in server.seen[1:]] == [None, None, "6", "6", "5", "7"]
    assert server.seen[1].path == "/v1/sessions/s-1/events"
    assert server.seen[1].headers["accept"].startswith("text/event-stream")


def test_a_service_with_too_many_streams_is_an_error(connect: Connect) -> None:
    with ScriptedServer(SESSION_ANSWER, FULL, FULL) as server:
        events = iter(session_of(connect(server.url, max_retries=1)).events(after=3))
        with pytest.raises(Overloaded, match="too many streams"):
            next(events)
    assert [seen.headers.get("last-event-id") for seen in server.seen[1:]] == ["3", "3"]


def test_a_page_instead_of_a_stream_is_an_error(connect: Connect) -> None:
    page = Answer(body=b"<h1>Log in</h1>", headers={"Content-Type": "text/html"})
    with ScriptedServer(SESSION_ANSWER, page) as server, pytest.raises(InvalidAnswer, match="received a page"):
        next(iter(session_of(connect(server.url)).events()))


def test_an_after_that_is_no_number_is_refused(client: Any) -> None:
    events = client.sessions.create("sgd", lr=0.1).events(after="x")
    with pytest.raises(TypeError, match="after must be a whole number, not 'x'"):
        next(iter(events))


def test_entering_connects_so_that_nothing_is_missed(client: Any) -> None:
    session = client.sessions.create("sgd", lr=0.1)
    session.step(W, W)
    with session.events() as events:
        session.step(W, W)
        assert next(iter(events)).step == 2


def test_a_stream_that_is_not_read_is_closed(connect: Connect) -> None:
    def stream(link: socket.socket) -> None:
        read_request(link)
        link.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + BEGUN)
        assert link.recv(1) == b""

    with RawServer(answers(SESSION_BYTES), stream) as server:
        with session_of(connect(server.url)).events():
            assert not server.closed[1].wait(0.05)
        assert server.closed[1].wait(10)


def test_a_silent_stream_is_given_up(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_http, "STREAM_SILENCE_SECONDS", 0.2)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"

    def session(link: socket.socket) -> None:
        read_request(link)
        link.sendall(SESSION_BYTES)
        read_request(link)

    def silent(link: socket.socket) -> None:
        read_request(link)
        link.sendall(head + BEGUN)
        link.recv(1)

    def lively(link: socket.socket) -> None:
        read_request(link)
        link.sendall(head + ROW_TEXT)
        assert link.recv(1) == b""

    with RawServer(session, silent, lively) as server:
        with session_of(connect(server.url)).events() as events:
            assert next(iter(events)).number == 6
            assert server.closed[1].wait(10)
        assert server.closed[2].wait(10)


def test_streams_that_are_closed_make_room(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTIM_MAX_STREAMS", "1")
    session = connect("memory:").sessions.create("sgd", lr=0.1)
    session.step(W, W)
    for _ in range(2):
        with session.events(after=0) as events:
            assert next(iter(events)).step == 1


@pytest.mark.long
def test_streams_that_are_forgotten_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPTIM_MAX_STREAMS", "1")
    with Client("memory:") as client:
        session = client.sessions.create("sgd", lr=0.1)
        session.step(W, W)
        for _ in range(2):
            assert next(session.events(after=0)).step == 1
            gc.collect()


def test_no_event_follows_a_close(client: Any) -> None:
    session = client.sessions.create("sgd", lr=0.1)
    session.step(W, W)
    events = session.events(after=0)
    next(iter(events))
    events.close()
    assert list(events) == []
