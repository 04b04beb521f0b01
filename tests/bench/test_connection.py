"""A connection of the bench: over TCP and Unix sockets, and refusals in the service's words."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.bench.connection import Connection
from app.bench.requests import Request
from app.demo.server import Server
from tests.unix_service import unix_service


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Server() as server:
        yield server.url


@pytest.mark.long
def test_an_answer_is_read_whole(url: str) -> None:
    request = Request("localhost", "GET", "/livez").next()
    with Connection(url) as connection:
        assert [connection.ask(request) for _ in range(2)] == [len('{"status":"alive"}')] * 2


def test_a_refusal_has_the_words_of_the_service(url: str) -> None:
    with (
        Connection(url) as connection,
        pytest.raises(ConnectionError, match=r"the service refused: .*session_not_found"),
    ):
        connection.ask(Request("localhost", "GET", "/v1/sessions/1").next())


@pytest.mark.long
def test_a_unix_socket_is_asked_as_well(tmp_path: Path) -> None:
    with unix_service(tmp_path) as address, Connection(address) as connection:
        assert connection.ask(Request("localhost", "GET", "/livez").next()) > 0
