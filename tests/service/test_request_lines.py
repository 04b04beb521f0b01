"""The lines of requests: several at once, in order with all others."""

import asyncio
import io
import json
import logging
from collections.abc import Iterator
from contextlib import redirect_stderr

import pytest

from app.logs import LOGGER, REQUEST, configure_logs, log
from app.main import create_app
from app.request_lines import MOST_BYTES, SECONDS, Lines
from app.settings import Settings
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


async def test_no_more_is_written_at_once_than_a_pipe_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, written = configured(), list[str]()
    monkeypatch.setattr(stream, "write", written.append)
    for _ in range(40):
        log.info(REQUEST, cause="ü" * 300)
    await asyncio.sleep(2 * SECONDS)
    assert len("".join(written).splitlines()) == 40
    assert all(len(text.encode()) <= MOST_BYTES for text in written)
    assert len(written) < 40


async def test_a_warning_does_not_wait() -> None:
    stream = configured()
    log.info(REQUEST, n=1)
    log.warning(REQUEST, n=2)
    assert [json.loads(line)["n"] for line in stream.getvalue().splitlines()] == [1, 2]


def test_lines_of_an_ended_event_loop_are_written() -> None:
    async def request(seconds: float) -> None:
        log.info(REQUEST, n=1)
        await asyncio.sleep(seconds)

    stream = configured()
    asyncio.run(request(0))
    asyncio.run(request(2 * SECONDS))
    assert len(stream.getvalue().splitlines()) == 2


async def test_the_end_of_the_service_writes_what_waits() -> None:
    stream = configured()
    async with create_app(Settings(store="memory:")).router.lifespan_context(None):
        log.info(REQUEST, n=1)
    assert len(stream.getvalue().splitlines()) == 1


def test_a_line_without_an_event_loop_does_not_wait() -> None:
    stream = configured()
    log.info(REQUEST, n=1)
    assert len(stream.getvalue().splitlines()) == 1


async def test_the_end_of_the_process_writes_what_waits() -> None:
    stream = configured()
    log.info(REQUEST, n=1)
    logging.shutdown()
    assert len(stream.getvalue().splitlines()) == 1


async def test_a_closed_stream_stops_no_request(capsys: pytest.CaptureFixture[str]) -> None:
    stream = configured()
    log.info(REQUEST, n=1)
    (handler,) = logging.getLogger(LOGGER).handlers
    assert isinstance(handler, Lines)
    stream.close()
    log.info(REQUEST, long="x" * MOST_BYTES)
    handler.flush()
    handler.stream = io.StringIO()
    assert "I/O operation on closed file" in capsys.readouterr().err
