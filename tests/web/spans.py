"""The spans of a service in this thread."""

from collections.abc import Iterator
from contextlib import contextmanager

from httpx2 import Client
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from app.main import wired
from app.settings import Settings
from app.store import open_store
from app.store.base import Store
from app.web.tracing import Tracing
from tests.service.calls import running


class Spans:
    """The spans that were made, the requests' in front of their phases."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()

    def take(self) -> list[ReadableSpan]:
        """Return the spans since the last call."""
        spans = sorted(self.exporter.get_finished_spans(), key=lambda span: span.start_time or 0)
        self.exporter.clear()
        return spans

    def request(self) -> ReadableSpan:
        """Return the span of the only request since the last call."""
        (request,) = [span for span in self.take() if span.kind.name == "SERVER"]
        return request


@contextmanager
def traced(store: Store | None = None) -> Iterator[tuple[Client, Spans]]:
    """Yield a client of a service whose spans are kept."""
    spans, settings = Spans(), Settings(store="memory:")
    tracing = Tracing(SimpleSpanProcessor(spans.exporter))
    with running(wired(settings, store or open_store(settings), tracing, warns=False)) as client:
        yield client, spans
