"""Lines of requests, written several at once: each write to a file or a terminal is a system call."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TextIO, TypeVar

T = TypeVar("T")

SECONDS = 0.02
"""Seconds that a line may wait for others. A server that is killed loses what waits."""
MOST_BYTES = 4 << 10
"""The most bytes that are written at once. Several processes may share a pipe, which does not mix so many."""


class Lines(logging.StreamHandler[TextIO], Generic[T]):
    """A handler beside which some lines wait for each other, as values that `shown` turns into text when they are
    written. A record is written at once, after them.
    """

    def __init__(self, shown: Callable[[T], str]) -> None:
        """Write to standard error."""
        super().__init__()
        self._shown = shown
        self._waiting = deque[T]()
        self._loop: asyncio.AbstractEventLoop | None = None
        """The event loop that writes what waits."""

    def add(self, value: T) -> bool:
        """Let a line wait, and return true; return false where no event loop runs, which would write it."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return False
        self._waiting.append(value)
        if self._loop is not loop:
            self._loop = loop
            loop.call_later(SECONDS, self.flush)
        return True

    def emit(self, record: logging.LogRecord) -> None:
        self.flush()
        super().emit(record)

    def flush(self) -> None:
        """Write what waits. Also called when the service or the process ends."""
        self.acquire()
        try:
            self._loop = None
            for text in self._texts():
                self.stream.write(text)
            super().flush()
        except Exception:
            self.handleError(logging.makeLogRecord({"msg": "lines of requests"}))
        finally:
            self.release()

    def _texts(self) -> Iterator[str]:
        """Yield the lines that wait, joined as far as `MOST_BYTES` allow."""
        lines, nbytes = list[str](), 0
        while self._waiting:
            line = f"{self._shown(self._waiting.popleft())}\n"
            length = len(line.encode(errors="backslashreplace"))
            if lines and nbytes + length > MOST_BYTES:
                yield "".join(lines)
                lines, nbytes = [], 0
            lines.append(line)
            nbytes += length
        if lines:
            yield "".join(lines)
