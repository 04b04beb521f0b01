"""The collector of spans that the environment names, and what the log says of it."""

import logging
from collections.abc import Sequence

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from app.logs import log

SDK = logging.getLogger("opentelemetry")
"""The logger of the SDK: while a collector is away, it would have a line for each try and for a full queue."""


def collector() -> BatchSpanProcessor:
    """Return the way to the collector: a bounded queue, and a thread that empties it. No request waits for it."""
    return BatchSpanProcessor(Watched(OTLPSpanExporter()))


class Watched(SpanExporter):
    """An exporter whose failures are told once: when they begin, with the SDK's own words, and when they end."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._level = SDK.level
        self._lost = 0

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Export spans; those that the collector does not take are lost."""
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            if not self._lost:
                log.warning("spans are lost until the collector takes them; requests are answered as ever")
                SDK.setLevel(logging.CRITICAL)
            self._lost += len(spans)
        elif self._lost:
            SDK.setLevel(self._level)
            log.warning("the collector takes spans again", lost=self._lost)
            self._lost = 0
        return result

    def shutdown(self) -> None:
        """Close the connection to the collector."""
        self._exporter.shutdown()
