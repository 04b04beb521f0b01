"""Log lines: one for each request and for what goes wrong, as text for people or JSON for machines.

Until `configure_logs` is called only warnings are seen, so that a service inside of another program is quiet.
"""

import json
import logging
import os
import re
import sys
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import NamedTuple

from app.request_lines import Lines

LOGGER = "optim"
LOGGERS = (LOGGER, "app", "uvicorn", "opentelemetry")
"""The service's own lines, those of its parts that log plain text, the server's, and those of what exports spans."""
CHATTER = (
    "Started server process",
    "Waiting for application",
    "Application startup complete",
    "Application shutdown complete",
    "Finished server process",
)
"""The first words of uvicorn's messages that tell nothing new."""
REQUEST = "request"
"""The event of the line that each request has. Below a warning, these lines wait for each other."""
JSON = json.JSONEncoder(default=repr)
PLAIN_TYPES = frozenset((str, int, float))
"""The types of values that are shown as they are."""
QUOTED = re.compile("[ \t=\r\n\"']")
"""The characters that put a text into quotes."""
RESET, BRIGHT, DIM, NAME, VALUE = "\33[0m", "\33[1m", "\33[2m", "\33[36m", "\33[35m"
LEVELS = {"debug": "\33[32m", "info": "\33[32m", "warning": "\33[33m", "error": "\33[31m", "critical": "\33[31m"}
"""The colour of each level."""

LEVEL_NAMES = {level: name.lower() for name, level in logging.getLevelNamesMapping().items()}

REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""The id of the request that is worked on."""
TRACE_ID: ContextVar[str | None] = ContextVar("trace_id", default=None)
"""The id of the trace that the request is part of."""


@dataclass(frozen=True)
class Message:
    """An event and its fields. The handlers of other programs show it as text."""

    event: str
    fields: Mapping[str, object]

    def __str__(self) -> str:
        return " ".join([self.event, *[f"{name}={_shown(value)}" for name, value in self.fields.items()]])


class RequestLine(NamedTuple):
    """The line of one request, not yet written."""

    created: float
    level: int
    fields: Mapping[str, object]
    request_id: str | None
    trace_id: str | None


class Log:
    """The service's own logger: each method logs an event, and fields by name."""

    def __init__(self) -> None:
        self._logger = logging.getLogger(LOGGER)

    def debug(self, event: str, **fields: object) -> None:
        self._log(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: object) -> None:
        self._log(logging.INFO, event, fields)

    def warning(self, event: str, **fields: object) -> None:
        self._logger.warning(Message(event, fields))

    def error(self, event: str, **fields: object) -> None:
        self._logger.error(Message(event, fields))

    def exception(self, event: str, **fields: object) -> None:
        """Log an error with the traceback of the exception that is handled."""
        self._logger.exception(Message(event, fields))

    def _log(self, level: int, event: str, fields: Mapping[str, object]) -> None:
        if self._logger.isEnabledFor(level) and not (event == REQUEST and self._waits(level, fields)):
            self._logger.log(level, Message(event, fields))

    def _waits(self, level: int, fields: Mapping[str, object]) -> bool:
        """Let the line of a request wait for others, and return true, where nobody but this module handles lines.

        A record would cost it as much as a small step's arithmetic.
        """
        lines = self._logger.handlers[0] if len(self._logger.handlers) == 1 else None
        if not isinstance(lines, Lines):
            return False
        return lines.add(RequestLine(time.time(), level, fields, REQUEST_ID.get(), TRACE_ID.get()))


log = Log()


def configure_logs(level: str, form: str) -> None:
    """Write every line in one form, to standard error; coloured only where a person sees it on a terminal."""
    render = _render(form)
    handler = Lines(partial(_request_line, render))
    handler.setFormatter(_Formatter(render))
    handler.addFilter(lambda record: isinstance(record.msg, Message) or not record.getMessage().startswith(CHATTER))
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level.upper())
        logger.propagate = False


def flush_logs() -> None:
    """Write the lines that wait."""
    for handler in logging.getLogger(LOGGER).handlers:
        handler.flush()


Render = Callable[[float, dict[str, object]], str]
"""A form of lines: the text for a Unix time and the parts."""


def _request_line(render: Render, line: RequestLine) -> str:
    parts = {**line.fields, "event": REQUEST}
    return _rendered(render, line.created, line.level, parts, (line.request_id, line.trace_id))


def _rendered(
    render: Render,
    created: float,
    level: int,
    parts: dict[str, object],
    ids: tuple[str | None, str | None],
    exception: str = "",
) -> str:
    """Return the text of a line. `ids` are those of the request and of its trace."""
    request_id, trace_id = parts.pop("request_id", None) or ids[0], ids[1]
    parts["level"] = LEVEL_NAMES.get(level) or logging.getLevelName(level).lower()
    if exception:
        parts["exception"] = exception
    if request_id is not None:
        parts["request_id"] = request_id
    if trace_id is not None:
        parts["trace_id"] = trace_id
    return render(created, parts)


class _Formatter(logging.Formatter):
    """A formatter that gathers the parts of a line: the fields, `event`, `level`, `exception`, `request_id`."""

    def __init__(self, render: Render) -> None:
        super().__init__()
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        parts: dict[str, object]
        if isinstance(record.msg, Message):
            parts = {**record.msg.fields, "event": record.msg.event}
        else:
            parts = {"event": record.getMessage()}
        exception = self.formatException(record.exc_info) if record.exc_info else ""
        return _rendered(
            self._render, record.created, record.levelno, parts, (REQUEST_ID.get(), TRACE_ID.get()), exception
        )


class Look(NamedTuple):
    """The look of a line for people: of its start (time, the level's colour, level, event) and of a field."""

    start: str
    field: str


PLAIN = Look("%s [%.0s%-9s] %s", "%s=%s")
PAINTED = Look(f"{DIM}%s{RESET} [%s{BRIGHT}%-9s{RESET}] {BRIGHT}%s{RESET}", f"{NAME}%s{RESET}={VALUE}%s{RESET}")


def _render(form: str) -> Render:
    if form == "json":
        return _as_json
    has_colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    return partial(_as_text, PAINTED if has_colours else PLAIN)


def _as_json(created: float, parts: dict[str, object]) -> str:
    """Return a line for machines."""
    when = datetime.fromtimestamp(created, UTC).isoformat()
    return JSON.encode({**parts, "timestamp": when.replace("+00:00", "Z")})


def _as_text(look: Look, created: float, parts: dict[str, object]) -> str:
    """Return a line for people."""
    event, level, exception = parts.pop("event"), str(parts.pop("level")), parts.pop("exception", None)
    words = [look.start % (_second(int(created)), LEVELS.get(level, ""), level, event)]
    shown = parts if _are_plain(parts) else {name: _shown(value) for name, value in parts.items()}
    words += [look.field % pair for pair in shown.items()]
    return " ".join(words) + (f"\n{exception}" if exception else "")


@lru_cache(2)
def _second(created: int) -> str:
    return datetime.fromtimestamp(created, UTC).isoformat(" ").replace("+00:00", "Z")


def _are_plain(parts: Mapping[str, object]) -> bool:
    """Return whether all values are numbers, or texts that need no quotes: those of most requests."""
    values = parts.values()
    return PLAIN_TYPES.issuperset(map(type, values)) and not QUOTED.search("".join(map(str, values)))


def _shown(value: object) -> str:
    return value if isinstance(value, str) and not QUOTED.search(value) else repr(value)
