"""The timing: percentiles, a few calls at least, and rates on many connections."""

from collections.abc import Iterator

import pytest

from app.bench.echo import Echo
from app.bench.requests import Request
from app.bench.timing import FEWEST, WARM_UP, Times, rate, timed


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    with Echo() as echo:
        yield echo


def test_percentiles_are_those_of_the_sorted_times() -> None:
    times = Times(tuple(map(float, range(100))))
    assert (times.p50, times.p99) == (50.0, 99.0)
    assert Times((1.0,)).p99 == 1.0


def test_a_slow_call_is_made_a_few_times_at_least() -> None:
    calls: list[None] = []
    assert len(timed(lambda: calls.append(None), seconds=0).sorted) == FEWEST
    assert len(calls) == WARM_UP + FEWEST


def test_all_connections_count(echo: Echo) -> None:
    assert rate(echo.address, [Request("here", "POST", "/", b"body")] * 3, seconds=0.2) > 10


def test_a_connection_that_fails_ends_the_measurement() -> None:
    with pytest.raises(ConnectionRefusedError):
        rate("http://127.0.0.1:1", [Request("here", "GET", "/")], seconds=0.1)
