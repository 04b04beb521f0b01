"""The retries of a balancer: only of requests that were not sent. The client sends others again."""

import http.client
from pathlib import Path

import pytest

from tests.fleet.balancer import Balancer, balancer
from tests.fleet.bare_replica import Arrival, bare_replica
from tests.servers import free_port

BODY = bytes(1 << 20)
WRITES = {"POST": BODY, "PUT": BODY, "PATCH": b"{}", "DELETE": b""}


def asked(front: Balancer, method: str, session: int, body: bytes) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
    try:
        connection.request(method, f"/v1/sessions/{session}", body)
        return connection.getresponse().status
    except (ConnectionError, http.client.HTTPException):  # the balancer closed while the body was being sent
        return 502
    finally:
        connection.close()


def take(arrival: Arrival) -> None:
    arrival.read(arrival.left)
    arrival.answer()


def die(arrival: Arrival) -> None:
    """Close the connection when the body has come, without an answer."""
    arrival.read(arrival.left)


@pytest.mark.parametrize("method", WRITES)
def test_a_refused_connection_costs_no_error(kind: str, method: str, tmp_path: Path) -> None:
    with bare_replica(take) as replica, balancer(kind, tmp_path, [free_port(), replica.port, free_port()]) as front:
        statuses = {asked(front, method, session, WRITES[method]) for session in range(6)}
        expected = {200, 502} if (kind, method) == ("nginx", "DELETE") else {200}
        assert statuses <= expected
        assert len(replica.seen) >= 6 - (502 in statuses) * 5


@pytest.mark.parametrize("method", WRITES)
def test_a_write_that_was_sent_is_not_sent_again(kind: str, method: str, tmp_path: Path) -> None:
    with (
        bare_replica(die) as one,
        bare_replica(die) as two,
        balancer(kind, tmp_path, [one.port, two.port, two.port]) as front,
    ):
        for session in range(6):
            assert asked(front, method, session, WRITES[method]) >= 502
        seen = one.seen + two.seen
        assert seen
        assert len({*seen}) == len(seen)
