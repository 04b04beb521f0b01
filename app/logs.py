"""Log lines: one for each request and for what goes wrong, as text for people or JSON for machines.

Until `configure_logs` is called only warnings are seen, so that a service inside of another program is quiet.
"""

import logging
import os
import sys
from collections.abc import Sequence
from contextvars import ContextVar

import structlog
from structlog.stdlib import BoundLogger, ProcessorFormatter
from structlog.typing import EventDict, Processor, WrappedLogger

from app.request_lines import EVENT, Lines, Words, as_json, as_text

LOGGER = "optim"
LOGGERS = (LOGGER, "app", "uvicorn")
"""The service's own lines, those of its parts that know no structlog, and the server's."""
CHATTER = (
    "Started server process",
    "Waiting for application",
    "Application startup complete",
    "Application shutdown complete",
    "Finished server process",
)
"""The first words of uvicorn's messages that tell nothing new."""


REQUEST_ID: ContextVar[str | None] = ContextVar("request_id", default=None)
"""That of the request that is worked on. One variable: to bind structlog's takes 60 times as long."""


def _request_id(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Put the id at the end of a line."""
    request_id = event.pop("request_id", None) or REQUEST_ID.get()
    if request_id is not None:
        event["request_id"] = request_id
    return event


_EVERY_LINE: Sequence[Processor] = (structlog.stdlib.add_log_level, structlog.processors.format_exc_info, _request_id)

log: BoundLogger = structlog.wrap_logger(
    logging.getLogger(LOGGER),
    wrapper_class=BoundLogger,
    processors=[
        structlog.stdlib.filter_by_level,
        *_EVERY_LINE,
        ProcessorFormatter.wrap_for_formatter,
    ],
).bind()


def configure_logs(level: str, form: str) -> None:
    """Everything in one form, to standard error; coloured only where a person sees it on a terminal."""
    colors = form != "json" and sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    handler = Lines(as_json if form == "json" else None if colors else as_text)
    handler.setFormatter(_formatter(form, colors))
    handler.addFilter(lambda record: not record.getMessage().startswith(CHATTER))
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level.upper())
        logger.propagate = False


def log_request(level: str, words: Words) -> None:
    """Log the line of the request that is worked on."""
    logger = logging.getLogger(LOGGER)
    handler = logger.handlers[0] if logger.handlers else None
    if not isinstance(handler, Lines) or handler.form is None:
        getattr(log, level)(EVENT, **words)
    elif logger.isEnabledFor(getattr(logging, level.upper())):
        handler.add(handler.form(level, words, REQUEST_ID.get() or ""))


def _formatter(form: str, colors: bool) -> ProcessorFormatter:
    when: Processor
    render: Processor
    if form == "json":
        when, render = structlog.processors.TimeStamper(fmt="iso", utc=True), structlog.processors.JSONRenderer()
    else:
        when = structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%SZ", utc=True)
        render = structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0, sort_keys=False)
    return ProcessorFormatter(
        foreign_pre_chain=_EVERY_LINE, processors=[when, ProcessorFormatter.remove_processors_meta, render]
    )
