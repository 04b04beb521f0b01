"""Traces as the environment asks for them, by OpenTelemetry's own variables."""

import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from app.web.tracing import Tracing

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
"""The variables that ask for traces, the strongest first. The same holds for `PROTOCOLS`."""
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
PROTOCOL = "http/protobuf"
EXPORTER = "OTEL_TRACES_EXPORTER"
DISABLED = "OTEL_SDK_DISABLED"


def endpoint() -> str | None:
    """Return the collector's address; `None` if no traces are asked for.

    Raises `ValueError` for what the service cannot do.
    """
    name, url = _first(ENDPOINTS)
    exporter = os.environ.get(EXPORTER) or "otlp"
    if not url or exporter == "none" or os.environ.get(DISABLED, "").lower() == "true":
        return None
    if exporter != "otlp":
        raise ValueError(f"{EXPORTER}={exporter} is unknown here: traces go by `otlp`, or nowhere by `none`")
    variable, protocol = _first(PROTOCOLS)
    if protocol not in {"", PROTOCOL}:
        raise ValueError(f"{variable}={protocol} is unknown here: leave it out, and give the collector's HTTP port")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError(f"{name} must be an address such as http://collector:4318, not {url!r:.80}")
    return url


def tracing() -> "Tracing | None":
    """Return the tracing that the environment asks for; `None` if it asks for none. Raises `ValueError`."""
    url = endpoint()
    if url is None:
        return None
    try:
        from app.web.tracing import Tracing
    except ImportError as error:
        raise ValueError(
            f"{_first(ENDPOINTS)[0]} asks for traces, which need OpenTelemetry ({error}): install "
            "`optim-service[otel]`, or leave the variable out"
        ) from error
    return Tracing()


def _first(names: tuple[str, ...]) -> tuple[str, str]:
    """Return the first of the variables that has a value, and the value; empty words if none has."""
    return next(((name, value) for name in names if (value := os.environ.get(name, "").strip())), ("", ""))
