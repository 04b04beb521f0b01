"""The echo: it answers with as many bytes as it got, and ends with its block."""

import pytest

from app.bench.connection import Connection
from app.bench.echo import Echo
from app.bench.requests import Request


@pytest.mark.parametrize("size", [0, 1, 3_000_000])
def test_the_answer_is_as_long_as_the_request(size: int) -> None:
    with Echo() as echo, Connection(echo.address) as connection:
        request = Request("here", "POST", "/", bytes(size)).next()
        assert [connection.ask(request) for _ in range(3)] == [size] * 3


def test_the_process_ends_with_the_block() -> None:
    with Echo() as echo:
        pass
    with pytest.raises(ConnectionRefusedError):
        Connection(echo.address)
