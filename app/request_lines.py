"""Lines of requests, written several at once: each write to a file or a terminal is a system call."""

import asyncio
import logging
from collections.abc import Callable
from typing import TextIO

SECONDS = 0.02
"""Seconds that a line may wait for others. A server that is killed loses what waits."""
MOST_BYTES = 4 << 10
"""The most bytes that are written at once. Several processes may share a pipe, which does not mix so many."""


class Lines(logging.StreamHandler[TextIO]):
    """A handler that lets some lines wait for each other. Any other line is written at once, after them."""

    def __init__(self, may_wait: Callable[[logging.LogRecord], bool]) -> None:
        """Write to standard error."""
        super().__init__()
        self._may_wait = may_wait
        self._waiting: list[str] = []
        self._bytes = 0
        self._last: logging.LogRecord | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        """The event loop that writes what waits."""

    def emit(self, record: logging.LogRecord) -> None:
        loop = _running_loop() if self._may_wait(record) else None
        if loop is None:
            self.flush()
            super().emit(record)
            return
        try:
            self._add(f"{self.format(record)}\n")
        except Exception:
            self.handleError(record)
        self._last = record
        if self._loop is not loop and self._waiting:
            self._loop = loop
            loop.call_later(SECONDS, self.flush)

    def _add(self, line: str) -> None:
        nbytes = len(line.encode(errors="backslashreplace"))
        if self._bytes + nbytes > MOST_BYTES:
            self.flush()
        self._waiting.append(line)
        self._bytes += nbytes

    def flush(self) -> None:
        """Write what waits. Also called when the service or the process ends."""
        self.acquire()
        try:
            if self._waiting:
                text = "".join(self._waiting)
                self._waiting.clear()
                self.stream.write(text)
            super().flush()
        except Exception:
            if self._last is not None:
                self.handleError(self._last)
        finally:
            self._bytes, self._loop = 0, None
            self.release()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
