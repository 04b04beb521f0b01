"""The log lines of requests: in the form of every other line, but made without structlog and written several at once.

A small step takes less time than structlog takes for its line, and a write to a file or a terminal is a system call.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from threading import RLock
from typing import TextIO, TypeAlias

Words: TypeAlias = Mapping[str, object]
Form: TypeAlias = Callable[[str, Words, str], str]
"""A form of lines: `form(level, words, request_id)` returns the line."""
EVENT = "request"
SECONDS = 0.02
"""Seconds that a line may wait for others. A server that is killed loses what waits."""
LONGEST = 3 << 10
"""Characters that wait at most. Several processes may share a pipe, which takes 4 KiB without mixing them."""
QUOTED = frozenset(" \t=\r\n\"'")
"""The characters with which structlog's console quotes a text."""
WIDTH = len("exception")
"""The width of structlog's longest level, to which it pads each."""


def as_json(level: str, words: Words, request_id: str) -> str:
    """Return a line for machines."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return json.dumps({**words, "event": EVENT, "level": level, "request_id": request_id, "timestamp": now})


def as_text(level: str, words: Words, request_id: str) -> str:
    """Return a line for people, without colours."""
    now = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime())
    pairs = " ".join([f"{name}={_shown(value)}" for name, value in words.items()])
    return f"{now} [{level:{WIDTH}}] {EVENT} {pairs} request_id={request_id}"


def _shown(value: object) -> str:
    return value if isinstance(value, str) and QUOTED.isdisjoint(value) else repr(value)


class Lines(logging.StreamHandler[TextIO]):
    """A handler that lets the lines of requests wait for each other. Any other line is written at once, after them."""

    def __init__(self, form: Form | None) -> None:
        """Write to standard error. Without a form, requests are logged as everything else is."""
        super().__init__()
        self.form = form
        self._waiting: list[str] = []
        self._length = 0
        self._guard = RLock()

    def add(self, line: str) -> None:
        """Let a line wait. Needs a running event loop."""
        with self._guard:
            if not self._waiting:
                asyncio.get_running_loop().call_later(SECONDS, self.flush)
            self._waiting.append(f"{line}\n")
            self._length += len(line)
            if self._length > LONGEST:
                self.flush()

    def emit(self, record: logging.LogRecord) -> None:
        self.flush()
        super().emit(record)

    def flush(self) -> None:
        """Write what waits. Also called when the process ends."""
        with self._guard, suppress(OSError, ValueError):  # of a closed stream
            text = "".join(self._waiting)
            self._waiting.clear()
            self._length = 0
            self.stream.write(text)
            super().flush()
