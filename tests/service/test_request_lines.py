"""The lines of requests: the form of all other lines, and several at once."""

import asyncio
import io
import json
import logging
import re
from collections.abc import Iterator
from contextlib import redirect_stderr

import pytest

from app.logs import LOGGER, REQUEST_ID, configure_logs, log, log_request
from app.request_lines import LONGEST, SECONDS, Lines
from tests.web.logs import captured

WORDS = {
    "method": "POST", "route": "/v1/sessions/{session_id}/steps", "status": 503, "ms": 1.25, "tenant": "the lab",
    "session": "0a" * 16, "code": "overloaded", "detail": 'no "place"; send it again', "cause": "it's = \t\n\u2028 ü",
}  # fmt: skip
TIME = re.compile(r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?Z")


@pytest.fixture(autouse=True)
def loggers() -> Iterator[None]:
    """Put the loggers back."""
    with captured():
        yield


def configured(level: str, form: str) -> io.StringIO:
    """Return the stream of lines of that level and form."""
    stream = io.StringIO()
    with redirect_stderr(stream):
        configure_logs(level, form)
    return stream


@pytest.mark.parametrize("form", ["console", "json"])
@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
async def test_a_line_is_what_structlog_makes(form: str, level: str) -> None:
    stream = configured("debug", form)
    REQUEST_ID.set("mine")
    log_request(level, WORDS)
    getattr(log, level)("request", **WORDS)
    ours, theirs, rest = TIME.sub("", stream.getvalue()).split("\n")
    assert (ours, rest) == (theirs, "")


async def test_lines_below_the_level_are_left_out() -> None:
    stream = configured("warning", "json")
    log_request("info", WORDS)
    log_request("warning", WORDS)
    await asyncio.sleep(2 * SECONDS)
    assert len(stream.getvalue().splitlines()) == 1


async def test_lines_wait_for_each_other_and_are_written_in_order() -> None:
    stream = configured("info", "json")
    for i in range(3):
        log_request("info", {"n": i})
    assert stream.getvalue() == ""
    log.info("between")
    log_request("info", {"n": 3})
    await asyncio.sleep(2 * SECONDS)
    assert [json.loads(line).get("n") for line in stream.getvalue().splitlines()] == [0, 1, 2, None, 3]


async def test_many_lines_do_not_wait() -> None:
    stream = configured("info", "json")
    log_request("info", {"long": "x" * LONGEST})
    assert len(stream.getvalue()) > LONGEST


async def test_the_end_of_the_process_writes_what_waits() -> None:
    stream = configured("info", "json")
    log_request("info", WORDS)
    logging.shutdown()
    assert len(stream.getvalue().splitlines()) == 1


async def test_a_closed_stream_stops_no_request() -> None:
    stream = configured("info", "console")
    log_request("info", WORDS)
    (handler,) = logging.getLogger(LOGGER).handlers
    assert isinstance(handler, Lines)
    stream.close()
    log_request("info", {"long": "x" * LONGEST})
    handler.stream = io.StringIO()
