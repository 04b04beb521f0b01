"""The lines of requests: several at once, in order with all others."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from contextlib import redirect_stderr

import pytest

from app.logs import LOGGER, REQUEST, configure_logs, log
from app.request_lines import LONGEST, SECONDS, Lines
from tests.web.logs import captured


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    """Put the loggers back."""
    with captured():
        yield


def configured(level: str = "info") -> io.StringIO:
    """Return the stream of lines of that level."""
    stream = io.StringIO()
    with redirect_stderr(stream):
        configure_logs(level, "json")
    return stream


async def test_lines_below_the_level_are_left_out() -> None:
    stream = configured("warning")
    log.info(REQUEST, status=200)
    log.warning(REQUEST, status=503)
    await asyncio.sleep(2 * SECONDS)
    assert len(stream.getvalue().splitlines()) == 1


async def test_lines_wait_for_each_other_and_are_written_in_order() -> None:
    stream = configured()
    for i in range(3):
        log.info(REQUEST, n=i)
    assert stream.getvalue() == ""
    log.info("between")
    assert len(stream.getvalue().splitlines()) == 4
    log.info(REQUEST, n=3)
    await asyncio.sleep(2 * SECONDS)
    assert [json.loads(line).get("n") for line in stream.getvalue().splitlines()] == [0, 1, 2, None, 3]


async def test_many_lines_do_not_wait() -> None:
    stream = configured()
    log.info(REQUEST, long="x" * LONGEST)
    assert len(stream.getvalue()) > LONGEST


def test_a_line_without_an_event_loop_does_not_wait() -> None:
    stream = configured()
    log.info(REQUEST, n=1)
    assert len(stream.getvalue().splitlines()) == 1


async def test_the_end_of_the_process_writes_what_waits() -> None:
    stream = configured()
    log.info(REQUEST, n=1)
    logging.shutdown()
    assert len(stream.getvalue().splitlines()) == 1


async def test_a_closed_stream_stops_no_request() -> None:
    stream = configured()
    log.info(REQUEST, n=1)
    (handler,) = logging.getLogger(LOGGER).handlers
    assert isinstance(handler, Lines)
    stream.close()
    log.info(REQUEST, long="x" * LONGEST)
    handler.stream = io.StringIO()
