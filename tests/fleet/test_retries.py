"""The retries of a balancer: only of requests that were not sent. The client sends others again."""

import socket
from pathlib import Path

import pytest

from tests.fleet.balancer import Balancer, balancer
from tests.fleet.bare_replica import Arrival, bare_replica
from tests.servers import free_port

BODY = bytes(1 << 20)
WRITES = [("POST", BODY), ("PUT", BODY), ("PUT", b"{}"), ("PATCH", b"{}"), ("DELETE", b"")]
ONCE = {"PUT", "DELETE"}
"""The methods of which nginx tries one replica alone, also where that refuses the connection."""


def asked(front: Balancer, method: str, session: int, body: bytes) -> int:
    """Send a write, its body right behind its head, as clients do; return the status of the answer."""
    head = f"{method} /v1/sessions/{session} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(body)}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as client:
        try:
            client.sendall(head.encode() + body)
            return int(client.recv(1 << 12).split(b" ")[1])
        except (ConnectionError, IndexError):  # the balancer closed while the body was being sent
            return 502


def take(arrival: Arrival) -> None:
    arrival.read(arrival.left)
    arrival.answer()


def die(arrival: Arrival) -> None:
    """Close the connection when the body has come, without an answer."""
    arrival.read(arrival.left)


@pytest.mark.parametrize(("method", "body"), WRITES)
def test_a_refused_connection_costs_no_error(kind: str, method: str, body: bytes, tmp_path: Path) -> None:
    with bare_replica(take) as replica, balancer(kind, tmp_path, [free_port(), replica.port, free_port()]) as front:
        statuses = {asked(front, method, session, body) for session in range(6)}
        expected = {200, 502} if kind == "nginx" and method in ONCE else {200}
        assert statuses <= expected
        assert len(replica.seen) >= 6 - (502 in statuses) * 5


@pytest.mark.parametrize(("method", "body"), WRITES)
def test_a_write_that_was_sent_is_not_sent_again(kind: str, method: str, body: bytes, tmp_path: Path) -> None:
    with (
        bare_replica(die) as one,
        bare_replica(die) as two,
        balancer(kind, tmp_path, [one.port, two.port, two.port]) as front,
    ):
        for session in range(6):
            assert asked(front, method, session, body) >= 502
        seen = one.seen + two.seen
        assert seen
        assert len({*seen}) == len(seen)
