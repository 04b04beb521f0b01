"""Lines of requests, written several at once: each write to a file or a terminal is a system call."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import TextIO

SECONDS = 0.02
"""Seconds that a line may wait for others. A server that is killed loses what waits."""
LONGEST = 3 << 10
"""Characters that wait at most. Several processes may share a pipe, which takes 4 KiB without mixing them."""


class Lines(logging.StreamHandler[TextIO]):
    """A handler that lets some lines wait for each other. Any other line is written at once, after them."""

    def __init__(self, may_wait: Callable[[logging.LogRecord], bool]) -> None:
        """Write to standard error."""
        super().__init__()
        self._may_wait = may_wait
        self._waiting: list[str] = []
        self._length = 0

    def emit(self, record: logging.LogRecord) -> None:
        loop = _running_loop() if self._may_wait(record) else None
        if loop is None:
            self.flush()
            super().emit(record)
            return
        if not self._waiting:
            loop.call_later(SECONDS, self.flush)
        line = self.format(record)
        self._waiting.append(line)
        self._length += len(line)
        if self._length > LONGEST:
            self.flush()

    def flush(self) -> None:
        """Write what waits. Also called when the process ends."""
        self.acquire()
        try:
            waiting, self._waiting, self._length = self._waiting, [], 0
            with suppress(OSError, ValueError):  # of a closed stream
                self.stream.write("".join(f"{line}\n" for line in waiting))
                super().flush()
        finally:
            self.release()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
