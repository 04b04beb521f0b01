"""Log lines: one for each request and for what goes wrong, as text for people or JSON for machines.

Until `configure_logs` is called only warnings are seen, so that a service inside of another program is quiet.
"""

import logging
from collections.abc import Sequence

import structlog
from structlog.stdlib import BoundLogger, ProcessorFormatter
from structlog.typing import Processor

LOGGER = "optim"

_COMMON: Sequence[Processor] = (
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
)

log: BoundLogger = structlog.wrap_logger(
    logging.getLogger(LOGGER),
    wrapper_class=BoundLogger,
    processors=[
        structlog.stdlib.filter_by_level,
        structlog.contextvars.merge_contextvars,
        *_COMMON,
        ProcessorFormatter.wrap_for_formatter,
    ],
)


def configure_logs(level: str, form: str) -> None:
    """The service's own lines and uvicorn's, in one form, to standard error."""
    render: Processor = structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer()
    formatter = ProcessorFormatter(
        foreign_pre_chain=_COMMON, processors=[ProcessorFormatter.remove_processors_meta, render]
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    for name in (LOGGER, "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level.upper())
        logger.propagate = False
