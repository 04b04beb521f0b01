"""The way of spans to a collector that takes them, refuses them, is silent or away."""

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from httpx2 import Client
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from app import traces
from app.main import wired
from app.settings import Settings
from app.store.memory import MemoryStore
from app.web import tracing
from app.web.collector import Watched
from app.web.phases import NAMES
from tests.servers import free_port
from tests.service.calls import W, create, running, stepped
from tests.test_worker import served
from tests.web.logs import Logs
from tests.web.receiver import Receiver, receiving

STEP = "POST /v1/sessions/{session_id}/steps"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@contextmanager
def exporting(url: str, monkeypatch: pytest.MonkeyPatch, milliseconds: int = 1) -> Iterator[Client]:
    """Yield a client of a service that exports its spans after some milliseconds."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", str(milliseconds))
    with running(wired(Settings(store="memory:"), MemoryStore(10), traces.tracing(), warns=False)) as client:
        yield client


class Scripted(SpanExporter):
    """An exporter with its results, which logs failures."""

    def __init__(self, *results: bool) -> None:
        self._results = [SpanExportResult.SUCCESS if result else SpanExportResult.FAILURE for result in results]

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._results.pop(0)
        if result is SpanExportResult.FAILURE:
            logging.getLogger("opentelemetry.exporter").warning("away")
        return result


def test_an_outage_is_logged_when_it_begins_and_ends(logs: Logs) -> None:
    watched = Watched(Scripted(True, False, False, True, True, False))
    for _ in range(6):
        watched.export([ReadableSpan("load"), ReadableSpan("save")])
    lines = [(line["event"], line.get("lost")) for line in logs.lines()]
    begins = "spans are lost until the collector takes them; requests are answered as ever"
    assert lines == [
        ("away", None), (begins, None), ("the collector takes spans again", 4), ("away", None), (begins, None),
    ]  # fmt: skip


def test_a_stop_exports_what_is_left(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with exporting(receiver.url, monkeypatch, 60_000) as client:
        stepped(client, create(client), **W)
    assert {"POST /v1/sessions", STEP, *NAMES} == {*receiver.names()}


@pytest.mark.long
def test_server_processes_export_their_spans(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", f"{receiver.url}/v1/traces")
    with served(f"--store=lmdb:{tmp_path}", "--workers=2") as (server, (host, port)):
        with Client(base_url=f"http://{host}:{port}", timeout=60) as client:
            stepped(client, create(client), **W)
        server.terminate()
        assert server.wait(20) == 0
    assert receiver.names().count(STEP) == 1
    names = {item.key: item.value.string_value for came in receiver.came for item in came.resource.attributes}
    assert names["service.name"] == "optim-service"


@pytest.mark.parametrize("fault", ["away", "silent", "refuses"])
def test_a_collector_that_fails_harms_nobody(
    receiver: Receiver, fault: str, monkeypatch: pytest.MonkeyPatch, logs: Logs
) -> None:
    monkeypatch.setattr(tracing, "CLOSING_SECONDS", 0.1)
    receiver.silent, receiver.status = fault == "silent", 503
    url = f"http://127.0.0.1:{free_port()}" if fault == "away" else receiver.url
    started = time.perf_counter()
    with exporting(url, monkeypatch) as client:
        session = create(client)
        for _ in range(20):
            stepped(client, session, **W)
    assert time.perf_counter() - started < 5
    assert receiver.came == []
