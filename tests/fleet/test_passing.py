"""Bodies, answers and events, which pass a balancer as they come, however large."""

import socket
import time
from pathlib import Path
from threading import Event

import numpy as np
from optim_client import Client

from tests.fleet.balancer import Balancer, balancer
from tests.fleet.bare_replica import Arrival, bare_replica
from tests.servers import free_port

LARGE = 10_000_000
"""Parameters: 40 MB, forty times what nginx takes by default."""
BODY = bytes(1 << 20)
PATIENCE_SECONDS = 10.0


def test_the_configuration_is_valid(kind: str, tmp_path: Path) -> None:
    checked = Balancer(kind, tmp_path, [free_port()] * 3).checked()
    assert checked.returncode == 0, checked.stderr
    assert "warn" not in (checked.stdout + checked.stderr).lower()


def test_a_large_step_passes(front: Balancer) -> None:
    w = {"w": np.zeros(LARGE, np.float32)}
    with Client(front.url) as client:
        session = client.sessions.create("sgd", lr=1.0)
        assert np.array_equal(session.step(w, {"w": np.ones(LARGE, np.float32)})["w"], np.full(LARGE, -1, np.float32))


def test_events_come_as_they_happen(front: Balancer) -> None:
    w = {"w": np.zeros(2, np.float32)}
    with Client(front.url) as client:
        session = client.sessions.create("sgd", lr=1.0)
        with session.events() as events:
            for number in range(1, 4):
                session.step(w, w)
                started = time.monotonic()
                assert next(events).step == number
                assert time.monotonic() - started < 1


def test_a_body_passes_before_it_has_ended(kind: str, tmp_path: Path) -> None:
    halfway = Event()

    def answer(arrival: Arrival) -> None:
        arrival.read(len(BODY) // 2)
        halfway.set()
        arrival.read(arrival.left)
        arrival.answer()

    with bare_replica(answer) as replica, balancer(kind, tmp_path, [replica.port] * 3) as front, sent(front) as client:
        client.sendall(BODY[: len(BODY) * 3 // 4])
        assert halfway.wait(PATIENCE_SECONDS)
        client.sendall(BODY[len(BODY) * 3 // 4 :])
        assert client.recv(1 << 12).startswith(b"HTTP/1.1 200")


def test_an_answer_passes_before_it_has_ended(kind: str, tmp_path: Path) -> None:
    taken = Event()

    def answer(arrival: Arrival) -> None:
        arrival.read(arrival.left)
        arrival.answer(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfirst")
        assert taken.wait(PATIENCE_SECONDS)
        arrival.answer(b"other")

    with bare_replica(answer) as replica, balancer(kind, tmp_path, [replica.port] * 3) as front, sent(front) as client:
        client.sendall(BODY)
        received = b""
        while not received.endswith(b"first"):
            received += client.recv(1 << 12)
        taken.set()
        assert client.recv(1 << 12) == b"other"


def sent(front: Balancer) -> socket.socket:
    """Return a connection on which the head of a step was sent."""
    client = socket.create_connection(("127.0.0.1", front.port), timeout=PATIENCE_SECONDS)
    client.sendall(b"POST /v1/sessions/x/steps HTTP/1.1\r\nhost: localhost\r\ncontent-length: %d\r\n\r\n" % len(BODY))
    return client
