"""Spans of requests and of their phases, and the trace's id in log lines."""

import asyncio
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from httpx2 import Client
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import format_span_id, format_trace_id
from starlette.types import Message, Receive, Scope, Send

from app.main import create_app, wired
from app.settings import Settings
from app.store.base import Head
from app.store.memory import MemoryStore
from app.web import tracing
from app.web.endless import ENDLESS, Endless
from app.web.phases import NAMES
from app.web.tracing import Tracing
from tests.service.calls import W, create, problem, running, step, stepped
from tests.web.logs import Logs
from tests.web.spans import Spans, traced

TRACE, PARENT = "5b8efff798038103d269b633813fc60c", "eee19b7ec3c1b174"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


@pytest.fixture
def service() -> Iterator[tuple[Client, Spans]]:
    with traced() as both:
        yield both


def test_a_step_is_a_span_with_its_attributes(service: tuple[Client, Spans]) -> None:
    client, spans = service
    session = create(client)
    spans.take()
    answer = step(client, session, **W)
    request = spans.request()
    assert request.name == "POST /v1/sessions/{session_id}/steps"
    assert dict(request.attributes or {}) == {
        "http.request.method": "POST", "url.path": f"{session}/steps", "url.scheme": "http",
        "http.route": "/v1/sessions/{session_id}/steps", "http.response.status_code": 200,
        "optim.tenant": "default", "optim.session": session.rpartition("/")[2], "optim.step": 1,
        "optim.request_id": answer.headers["x-request-id"],
    }  # fmt: skip
    assert request.status.is_unset
    assert request.parent is None


def test_phases_are_spans_within_the_request(service: tuple[Client, Spans]) -> None:
    client, spans = service
    session = create(client)
    spans.take()
    stepped(client, session, **W)
    request, *phases = spans.take()
    assert list(dict.fromkeys(phase.name for phase in phases)) == list(NAMES)
    borders = [time for phase in phases for time in (phase.start_time, phase.end_time)]
    assert borders == sorted(borders)
    assert request.start_time <= borders[0] < borders[-1] <= request.end_time
    assert all(phase.parent == request.context for phase in phases)
    assert {phase.context.trace_id for phase in phases} == {request.context.trace_id}
    assert len({phase.context.span_id for phase in phases}) == len(phases)


def test_a_span_has_the_time_of_day(service: tuple[Client, Spans]) -> None:
    client, spans = service
    before = time.time_ns()
    create(client)
    request = spans.request()
    assert before <= request.start_time < request.end_time <= time.time_ns()


def test_a_request_joins_the_trace_that_it_names(service: tuple[Client, Spans]) -> None:
    client, spans = service
    client.get("/v1/optimizers", headers={"traceparent": SAMPLED, "tracestate": "vendor=1"})
    request = spans.request()
    assert format_trace_id(request.context.trace_id) == TRACE
    assert format_span_id(request.parent.span_id) == PARENT
    assert request.context.trace_state.to_header() == "vendor=1"


def test_an_unsampled_trace_has_no_spans(service: tuple[Client, Spans], logs: Logs) -> None:
    client, spans = service
    session = create(client)
    spans.take()
    logs.text()
    client.headers["traceparent"] = UNSAMPLED
    stepped(client, session, **W)
    assert spans.take() == []
    assert [line["trace_id"] for line in logs.lines()] == [TRACE]


@pytest.mark.parametrize("wrong", ["", "x", SAMPLED[:-3], SAMPLED.replace(TRACE, "0" * 32), SAMPLED.upper()])
def test_a_malformed_traceparent_begins_a_new_trace(service: tuple[Client, Spans], wrong: str) -> None:
    client, spans = service
    assert client.get("/v1/optimizers", headers={"traceparent": wrong}).status_code == 200
    request = spans.request()
    assert request.parent is None
    assert format_trace_id(request.context.trace_id) != TRACE


def test_a_request_without_a_trace_begins_its_own(service: tuple[Client, Spans], logs: Logs) -> None:
    client, spans = service
    for _ in range(2):
        client.get("/v1/optimizers")
    ids = [format_trace_id(span.context.trace_id) for span in spans.take() if span.kind.name == "SERVER"]
    assert [line["trace_id"] for line in logs.lines()] == ids
    assert len({*ids}) == 2


def test_a_line_without_traces_has_no_id(logs: Logs) -> None:
    with running(create_app(Settings(store="memory:"))) as client:
        client.get("/v1/optimizers", headers={"traceparent": SAMPLED})
    assert "trace_id" not in logs.lines()[0]


def test_a_refusal_has_its_code_and_no_error(service: tuple[Client, Spans]) -> None:
    client, spans = service
    problem(client.get("/v1/sessions/0"), 404, "session_not_found")
    request = spans.request()
    assert request.attributes["optim.code"] == "session_not_found"
    assert request.status.is_unset
    assert "error.type" not in request.attributes


class BrokenStore(MemoryStore):
    """Has a defect."""

    async def load(self, session_id: str) -> Head | None:
        raise ZeroDivisionError("deep inside")


def test_a_crash_is_an_error_without_its_words(logs: Logs) -> None:
    with traced(BrokenStore(10)) as (client, spans):
        problem(client.get("/v1/sessions/0"), 500, "internal_error")
    request = spans.request()
    assert not request.status.is_ok
    assert request.attributes["error.type"] == "ZeroDivisionError"
    assert request.attributes["http.response.status_code"] == 500
    assert "deep inside" not in request.to_json()
    assert {line["trace_id"] for line in logs.lines()} == {format_trace_id(request.context.trace_id)}


def test_health_probes_make_no_spans(service: tuple[Client, Spans]) -> None:
    client, spans = service
    for path in ("/livez", "/readyz", "/metrics"):
        client.get(path, headers={"traceparent": SAMPLED})
    assert spans.take() == []


def test_a_span_without_a_route_has_its_method(service: tuple[Client, Spans]) -> None:
    client, spans = service
    client.get("/nowhere")
    client.request("BREW", "/v1/sessions")
    client.head("/v1/optimizers")
    assert [(span.name, span.attributes["http.request.method"]) for span in spans.take()] == [
        ("GET", "GET"), ("HTTP /v1/sessions", "_OTHER"), ("HEAD /v1/optimizers", "HEAD"),
    ]  # fmt: skip


async def test_the_span_of_a_stream_ends_where_it_begins() -> None:
    spans = Spans()
    tracing = Tracing(SimpleSpanProcessor(spans.exporter))
    scope: dict[str, Any] = {"type": "http", "method": "GET", "path": "/", "scheme": "http", "headers": []}
    ended = []

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        scope[ENDLESS] = Endless()
        for _ in range(2):
            await send({"type": "http.response.body", "body": b": alive", "more_body": True})
            ended.append([span.attributes["http.response.status_code"] for span in spans.take()])

    async def send(_: Message) -> None:
        pass

    async with tracing:
        await tracing.layer(stream)(scope, None, send)  # type: ignore[arg-type]
    assert ended == [[200], []]
    assert spans.take() == []


def test_no_key_query_or_array_is_in_a_span(service: tuple[Client, Spans]) -> None:
    client, spans = service
    client.headers["authorization"] = "Bearer api-secret"
    session = create(client, labels={"run": "label-secret"})
    marked = {"params": {"w": [123456.75]}, "grads": {"w": [123456.75]}, "loss": 654321.5}
    stepped(client, session, "idempotency-secret", **marked)
    step(client, session, "idempotency-secret", **marked, step=9)
    step(client, session, params={"w": [123456.75, 1]}, grads={"w": [123456.75, 1]})
    client.get("/v1/sessions?cursor=query-secret")
    said = "".join(span.to_json() for span in spans.take())
    assert len(said) > 5000
    for hidden in ("secret", "123456", "654321"):
        assert hidden not in said


class Stuck(SpanProcessor):
    """A processor that never ends."""

    def shutdown(self) -> None:
        threading.Event().wait()


async def test_a_stop_waits_for_no_collector_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "CLOSING_SECONDS", 0.05)
    app = wired(Settings(store="memory:"), MemoryStore(10), Tracing(Stuck()), warns=False)
    async with asyncio.timeout(5), app.router.lifespan_context(app):
        pass


PROGRAM = """
import sys, app.serve, app.worker
app.worker.application()
theirs = ("opentelemetry.sdk", "opentelemetry.exporter", "app.web.tracing", "google.protobuf")
print(*[name for name in sys.modules if name.startswith(theirs)])
"""


@pytest.mark.parametrize("asked", [False, True])
@pytest.mark.long
def test_opentelemetry_is_imported_where_it_is_asked_for(asked: bool) -> None:
    environment = {"OPTIM_STORE": "memory:"} | (
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"} if asked else {}
    )
    modules = subprocess.check_output([sys.executable, "-c", PROGRAM], env=environment, text=True).split()
    assert ("app.web.tracing" in modules) == ("opentelemetry.sdk.trace" in modules) == asked
    assert bool(modules) == asked


def test_the_environment_names_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def resource() -> dict[str, Any]:
        with traced() as (client, spans):
            create(client)
            return json.loads(spans.request().resource.to_json())["attributes"]

    assert resource()["service.name"] == "optim-service"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=trainer,deployment.environment.name=test")
    named = resource()
    assert (named["service.name"], named["deployment.environment.name"]) == ("trainer", "test")
