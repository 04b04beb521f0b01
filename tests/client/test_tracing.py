"""Spans of calls: the service's are in them, the tries are their events, and nobody pays who has not asked."""

import asyncio
import pickle
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id, format_trace_id
from optim_client import AsyncClient, Client, StepConflict
from optim_client._tracing import path_template

from app.main import create_app, wired
from app.settings import Settings
from app.store.memory import MemoryStore
from app.web.tracing import Tracing
from tests.client.conftest import Connect
from tests.client.documents import W
from tests.client.scripted import BUSY, DROP, SESSION_ANSWER, Answer, ScriptedServer
from tests.web.sockets import listening
from tests.web.spans import Spans

EXPORTER = InMemorySpanExporter()


@pytest.fixture(scope="module", autouse=True)
def _provider() -> None:
    """Keep the spans of the program: a process has one provider for good."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(EXPORTER))
    trace.set_tracer_provider(provider)


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    yield
    EXPORTER.clear()


def only() -> ReadableSpan:
    (span,) = EXPORTER.get_finished_spans()
    return span


def test_a_call_is_a_span_whose_trace_is_sent(connect: Connect) -> None:
    with ScriptedServer(SESSION_ANSWER) as server:
        connect(server.url, tracing=True).sessions.get("s-1")
        (seen,) = server.seen
    span = only()
    assert (span.name, span.kind.name) == ("GET /v1/sessions/{session_id}", "CLIENT")
    assert dict(span.attributes or {}) == {
        "http.request.method": "GET", "url.template": "/v1/sessions/{session_id}", "http.response.status_code": 200,
        "server.address": "127.0.0.1", "server.port": int(server.url.rpartition(":")[2]),
    }  # fmt: skip
    trace_id, span_id = format_trace_id(span.context.trace_id), format_span_id(span.context.span_id)
    assert seen.headers["traceparent"] in {f"00-{trace_id}-{span_id}-{flags}" for flags in ("01", "03")}
    assert span.status.is_unset


async def test_a_call_is_within_the_span_around_it() -> None:
    tracer = trace.get_tracer("loop")
    with ScriptedServer(SESSION_ANSWER, SESSION_ANSWER) as server, tracer.start_as_current_span("epoch") as epoch:
        with Client(server.url, tracing=True) as client:
            client.sessions.get("s-1")
        async with AsyncClient(server.url, tracing=True) as other:
            await other.sessions.get("s-1")
    assert [span.parent for span in EXPORTER.get_finished_spans()] == [epoch.get_span_context()] * 2 + [None]


@pytest.mark.usefixtures("_short_waits")
def test_each_try_is_an_event(connect: Connect) -> None:
    with ScriptedServer(BUSY, DROP, SESSION_ANSWER) as server:
        connect(server.url, tracing=True).sessions.get("s-1")
        parents = {seen.headers["traceparent"] for seen in server.seen}
        ids = [seen.headers["x-request-id"] for seen in server.seen]
    assert [dict(event.attributes or {}) for event in only().events] == [
        {"optim.try": 1, "http.response.status_code": 503, "optim.request_id": ids[0]},
        {"optim.try": 2, "error.type": "APIConnectionError"},
        {"optim.try": 3, "http.response.status_code": 200, "optim.request_id": ids[2]},
    ]
    assert len(parents) == 1


def test_a_refusal_is_an_error_without_its_words(connect: Connect) -> None:
    with ScriptedServer(Answer(409, b'{"code": "step_conflict", "detail": "words", "current_step": 1}')) as server:
        client = connect(server.url, tracing=True, api_key="key-secret")
        with pytest.raises(StepConflict):
            client.sessions.get("s-1")
    span = only()
    assert not span.status.is_ok
    assert span.attributes["error.type"] == "StepConflict"
    assert not [hidden for hidden in ("words", "key-secret") if hidden in span.to_json()]


async def test_a_cancelled_call_ends_its_span() -> None:
    with ScriptedServer(Answer(late=30)) as server:
        async with AsyncClient(server.url, tracing=True) as client:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await client.sessions.get("s-1")
            assert only().attributes["error.type"] == "interrupted"


def test_the_span_of_the_service_is_within_the_calls(connect: Connect) -> None:
    spans = Spans()
    tracing = Tracing(SimpleSpanProcessor(spans.exporter))
    with listening(wired(Settings(store="memory:"), MemoryStore(10), tracing, warns=False)) as (host, port):
        session = connect(f"http://{host}:{port}", tracing=True).sessions.create("sgd")
        session.step(W, W)
    create, step = EXPORTER.get_finished_spans()
    served = [span for span in spans.take() if span.kind.name == "SERVER"]
    assert [span.name for span in served] == [create.name, step.name]
    assert [span.parent.span_id for span in served] == [create.context.span_id, step.context.span_id]
    assert {span.attributes["optim.request_id"] for span in served} == {
        event.attributes["optim.request_id"] for span in (create, step) for event in span.events
    }


def test_every_route_has_its_template() -> None:
    for path in create_app(Settings(store="memory:")).openapi()["paths"]:
        assert path_template(path.replace("{", "0").replace("}", "0")) == path


@pytest.mark.parametrize(
    ("url", "server"), [("unix:///run/o.sock", {"server.address": "/run/o.sock"}), ("memory:", {})]
)
def test_other_addresses_are_told_as_they_are(url: str, server: dict[str, Any]) -> None:
    with Client(url, tracing=True, max_retries=0) as client:
        client.ready()
    attributes = only().attributes
    assert {name: value for name, value in attributes.items() if name.startswith("server.")} == server


def test_a_pickled_client_and_a_copy_are_traced() -> None:
    with ScriptedServer(SESSION_ANSWER, SESSION_ANSWER) as server, Client(server.url, tracing=True) as client:
        client.with_options(timeout=5).sessions.get("s-1")
        with pickle.loads(pickle.dumps(client)) as other:
            other.sessions.get("s-1")
    assert len(EXPORTER.get_finished_spans()) == 2


def test_a_client_that_has_not_asked_sends_no_trace(connect: Connect) -> None:
    with ScriptedServer(SESSION_ANSWER) as server:
        connect(server.url).sessions.get("s-1")
        (seen,) = server.seen
    assert "traceparent" not in seen.headers
    assert EXPORTER.get_finished_spans() == ()


def test_a_client_that_has_not_asked_imports_nothing() -> None:
    code = "import sys, optim_client; optim_client.Client(); assert 'opentelemetry' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0


def test_a_missing_extra_is_refused_with_its_name(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optim_client._tracing", None)
    with pytest.raises(ImportError, match=r"tracing=True needs OpenTelemetry.*pip install 'optim-client\[otel\]'"):
        connect("http://127.0.0.1:1", tracing=True)
