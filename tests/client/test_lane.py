"""The lane against servers of bare sockets: early, late, cut and foreign answers."""

import json
import socket
import threading

import numpy as np
import pytest
from optim_client import APIConnectionError, BodyTooLarge, InvalidAnswer, _lane

from tests.client.conftest import Connect
from tests.client.documents import SESSION, stepped
from tests.client.raw import RawServer, answer, answers, read_head, read_request, until_closed
from tests.client.raw_service import (
    LARGE,
    SESSION_BYTES,
    assert_next_call_is_answered,
    get,
    named,
    read_only_the_head,
    session_then,
    step_answer,
)

TOO_LARGE = answer(b'{"code": "body_too_large", "detail": "too large"}', "413 Content Too Large", "Connection: close")


def test_a_training_loop_uses_one_connection(connect: Connect) -> None:
    steps = [step_answer(LARGE, number) for number in (42, 43, 44)]
    with RawServer(answers(SESSION_BYTES, *steps)) as server:
        session = connect(server.url, max_retries=0).sessions.get("s-1")
        for _ in steps:
            assert np.array_equal(session.step(LARGE, LARGE)["w"], LARGE["w"])
    assert server.connections == 1


def test_an_array_does_not_change_while_later_answers_arrive(connect: Connect) -> None:
    given = [{"w": np.full(1_000_000, number, np.float32), "b": np.float64(number)} for number in range(5)]
    script = [step_answer(params, 42 + number) for number, params in enumerate(given)]
    with RawServer(answers(SESSION_BYTES, *script)) as server:
        session = connect(server.url, max_retries=0).sessions.get("s-1")
        kept = [session.step(grads=given[0])["w"][::2] for _ in script]
    assert [set(array.tolist()) for array in kept] == [{0.0}, {1.0}, {2.0}, {3.0}, {4.0}]
    kept[0] += 1
    assert set(kept[1].tolist()) == {1.0}


def test_memory_is_used_again_once_nobody_looks_at_it(connect: Connect) -> None:
    with RawServer(answers(SESSION_BYTES, *[step_answer(LARGE, step) for step in (42, 43, 44)])) as server:
        session = connect(server.url, max_retries=0).sessions.get("s-1")
        places = [session.step(grads=LARGE)["w"].ctypes.data for _ in range(3)]
    assert len(set(places)) == 1


def test_an_answer_during_the_body_is_the_answer(connect: Connect) -> None:
    def refuse(link: socket.socket) -> None:
        read_head(link)
        link.sendall(TOO_LARGE)

    with RawServer(session_then(refuse), named) as server:
        client = connect(server.url, max_retries=0)
        session = client.sessions.get("s-1")
        with pytest.raises(BodyTooLarge, match="too large"):
            session.step(LARGE, LARGE)
        assert_next_call_is_answered(client, server)


def test_a_connection_closed_during_the_body_is_no_answer(connect: Connect) -> None:
    with RawServer(session_then(read_only_the_head), named) as server:
        client = connect(server.url, max_retries=0)
        session = client.sessions.get("s-1")
        with pytest.raises(APIConnectionError, match="no answer") as raised:
            session.step(LARGE, LARGE)
        assert raised.value.sent
        assert_next_call_is_answered(client, server)


@pytest.mark.parametrize("share", [0.0, 0.0001, 0.5, 0.999])
def test_an_answer_that_breaks_off_is_none(connect: Connect, share: float) -> None:
    whole = step_answer(LARGE)
    with RawServer(answers(SESSION_BYTES, whole[: int(share * len(whole))]), named) as server:
        client = connect(server.url, max_retries=0)
        session = client.sessions.get("s-1")
        with pytest.raises(APIConnectionError, match="the connection was closed"):
            session.step(grads=LARGE)
        assert_next_call_is_answered(client, server)


@pytest.mark.parametrize(
    "head",
    [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n",
    ],
    ids=["until-close", "chunked", "interim"],
)
def test_an_answer_of_another_form_is_read_too(connect: Connect, head: str) -> None:
    body = bytes(stepped(LARGE, step=42).body)
    framed = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if "chunked" in head else body
    with RawServer(answers(SESSION_BYTES, head.format(length=len(body)).encode() + framed)) as server:
        w = connect(server.url, max_retries=0).sessions.get("s-1").step(grads=LARGE)["w"]
    assert np.array_equal(w, LARGE["w"])
    w += 1


def test_garbage_is_no_answer(connect: Connect) -> None:
    with RawServer(answers(b"SSH-2.0-OpenSSH_9\r\n"), named) as server:
        client = connect(server.url, max_retries=0)
        with pytest.raises(APIConnectionError, match=r"malformed status line b'SSH-2\.0"):
            get(client)
        assert_next_call_is_answered(client, server)


def test_tensors_that_cannot_be_read_are_an_invalid_answer(connect: Connect) -> None:
    with RawServer(answers(SESSION_BYTES, answer(b"\xff" * 100_000))) as server:
        session = connect(server.url).sessions.get("s-1")
        with pytest.raises(InvalidAnswer, match="POST /v1/sessions/s-1/steps"):
            session.step(grads=LARGE)


def test_a_connection_closed_while_idle_costs_no_try(connect: Connect) -> None:
    with RawServer(answers(SESSION_BYTES), answers(SESSION_BYTES)) as server:
        client = connect(server.url, max_retries=0)
        get(client)
        server.closed[0].wait()
        get(client)
    assert server.connections == 2


@pytest.mark.parametrize("late", [False, True])
def test_bytes_that_nobody_asked_for_are_nobodys_answer(connect: Connect, late: bool) -> None:
    surplus, sent = answer(json.dumps({**SESSION, "id": "another"}).encode()), threading.Event()
    go = threading.Event()

    def too_much(link: socket.socket) -> None:
        read_request(link)
        link.sendall(SESSION_BYTES if late else SESSION_BYTES + surplus)
        if late:
            go.wait(10)
            link.sendall(surplus)
        sent.set()
        until_closed(link)

    with RawServer(too_much, named) as server:
        client = connect(server.url, max_retries=0)
        get(client)
        go.set()
        sent.wait()
        assert_next_call_is_answered(client, server)


def test_a_connection_that_was_idle_for_long_is_not_trusted(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_lane, "IDLE_SECONDS", 0.0)
    with RawServer(named, named) as server:
        client = connect(server.url, max_retries=0)
        get(client)
        assert_next_call_is_answered(client, server)
