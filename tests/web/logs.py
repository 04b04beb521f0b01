"""The service's log lines, captured by a test."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from io import StringIO
from typing import Any

from app.logs import LOGGER, LOGGERS, configure_logs


class Logs:
    """The lines that the service writes to standard error."""

    def __init__(self) -> None:
        self._stream = StringIO()

    def configure(self, level: str, form: str) -> None:
        with redirect_stderr(self._stream):
            configure_logs(level, form)

    def text(self) -> str:
        """Return all that was written since the last call."""
        for handler in logging.getLogger(LOGGER).handlers:
            handler.flush()
        text = self._stream.getvalue()
        self._stream.seek(0)
        self._stream.truncate()
        return text

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text().splitlines()]


@contextmanager
def captured() -> Iterator[Logs]:
    """Capture every line as JSON, and put the loggers back afterwards."""
    logs, loggers = Logs(), [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.level, logger.propagate) for logger in loggers]
    logs.configure("debug", "json")
    yield logs
    for logger, (level, propagate) in zip(loggers, before, strict=True):
        logger.handlers, logger.propagate = [], propagate
        logger.setLevel(level)
