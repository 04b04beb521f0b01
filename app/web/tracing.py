"""Spans of requests: one for each request, and in it one for each of its phases, made by OpenTelemetry.

Nothing else of the service knows OpenTelemetry, and this module is imported only where traces are asked for. A span has
no body, no query and no header, so neither arrays nor keys.
"""

import asyncio
from importlib.metadata import version
from threading import Thread
from time import perf_counter, time_ns
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Span, SpanContext, SpanKind, Status, StatusCode, format_trace_id
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import ServiceError
from app.logs import REQUEST_ID, TRACE_ID
from app.web.collector import collector
from app.web.endless import ENDLESS
from app.web.head_method import IS_HEAD
from app.web.phases import CURRENT, NAMES, Phases
from app.web.problems import ERROR
from app.web.telemetry import about

PROBES = frozenset({"/livez", "/readyz", "/metrics"})
"""The paths without spans: something asks for them every few seconds, for ever."""
METHODS = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE"})
"""The methods that a span may name; others may be without number."""
OTHER = "_OTHER"
TRACE_HEADERS = {b"traceparent": "traceparent", b"tracestate": "tracestate"}
PROPAGATOR = TraceContextTextMapPropagator()
CLOSING_SECONDS = 5.0
"""The time to export what is left when the service stops: a collector that is away must not hold it up."""
IDS = RandomIdGenerator()
SCOPE = InstrumentationScope("optim-service", version("optim-service"))
OURS = "optim."
"""The start of the attributes that are the service's own: those of a log line."""


class Tracing:
    """The spans of one server process, an asynchronous context for as long as it answers."""

    def __init__(self, processor: SpanProcessor | None = None) -> None:
        """`processor` gets the spans in the place of the collector that the environment names."""
        self._given = processor

    async def __aenter__(self) -> None:
        """Start to make spans: now and not before, because the thread that exports survives no fork."""
        self._processor = self._given or collector()
        self._provider = TracerProvider(resource=_resource(), shutdown_on_exit=False)
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer(SCOPE.name, SCOPE.version)

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        """Export what is left, for at most `CLOSING_SECONDS`. The SDK's own end may take half a minute."""
        closing = Thread(target=self._provider.shutdown, name="optim-closing-traces", daemon=True)
        closing.start()
        closing.join(CLOSING_SECONDS)

    def layer(self, app: ASGIApp) -> "Traced":
        """Return the application with spans, as a layer inside `Telemetry`."""
        return Traced(app, self)

    def start(self, scope: Scope, start_time: int) -> Span:
        """Return the span of a request, in the trace that the request names, else in a new one."""
        method = _method(scope)
        attributes = {"http.request.method": method, "url.path": scope["path"], "url.scheme": scope["scheme"]}
        name = _name(method, None)
        span: Span = self._tracer.start_span(name, _context(scope), SpanKind.SERVER, attributes, start_time=start_time)
        return span

    def add_phases(self, span: Span, phases: Phases, zero: int) -> None:
        """Add the spans of a request's phases. `zero` is when `time.perf_counter` was 0, in nanoseconds.

        They are over, and as sampled as the request's. So they are made as what a tracer's span ends as, at less cost.
        """
        parent = span.get_span_context()
        for phase, start, end in phases.borders or ():
            context = SpanContext(
                parent.trace_id, IDS.generate_span_id(), False, parent.trace_flags, parent.trace_state
            )
            self._processor.on_end(
                ReadableSpan(
                    NAMES[phase],
                    context,
                    parent,
                    self._provider.resource,
                    start_time=zero + int(start * 1e9),
                    end_time=zero + int(end * 1e9),
                    instrumentation_scope=SCOPE,
                )
            )


class Traced:
    """A layer that gives each request its span, and its log lines the trace's id."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        self._app = app
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        request = _Request(self._tracing, scope)

        async def noted(message: Message) -> None:
            if message["type"] == "http.response.start":
                request.status = message["status"]
            elif ENDLESS in scope:  # a span of hours would help nobody: it is the opening of the stream
                request.end()
            await send(message)

        try:
            await self._app(scope, receive, noted)
        except BaseException as error:  # also of a task that is cancelled
            request.failure = type(error).__name__
            raise
        finally:
            request.end()


class _Request:
    """A request that is worked on, and its span."""

    def __init__(self, tracing: Tracing, scope: Scope) -> None:
        self.status = 0
        self.failure: str | None = None
        self._tracing = tracing
        self._scope = scope
        self._phases = CURRENT.get()
        ticks, now = perf_counter(), time_ns()
        self._zero = now - int(ticks * 1e9)
        self._span = tracing.start(scope, now)
        self._ended = False
        TRACE_ID.set(format_trace_id(self._span.get_span_context().trace_id))
        if self._span.is_recording():
            self._phases.borders = []
        self._phases.skip()  # no phase begins before the span

    def end(self) -> None:
        """End the span, with what the answer has shown. A second call does nothing."""
        if not self._ended and self._span.is_recording():
            self._describe()
            self._tracing.add_phases(self._span, self._phases, self._zero)
            self._span.end()
        self._ended = True

    def _describe(self) -> None:
        span, scope = self._span, self._scope
        error: ServiceError | None = scope.get(ERROR)
        told: dict[str, Any] = {f"{OURS}{name}": value for name, value in about(scope).items()}
        told[f"{OURS}request_id"] = REQUEST_ID.get()
        if (route := getattr(scope.get("route"), "path", None)) is not None:
            told["http.route"] = route
            span.update_name(_name(_method(scope), route))
        if error is not None:
            told[f"{OURS}code"] = error.code
        status = self.status or (500 if self.failure else 0)
        if status:
            told["http.response.status_code"] = status
        if status >= 500 or self.failure:
            told["error.type"] = self.failure or (error.code if error else str(status))
            span.set_status(Status(StatusCode.ERROR))
        span.set_attributes(told)


def _method(scope: Scope) -> str:
    """Return the method as OpenTelemetry wants it: one of a few."""
    method: str = "HEAD" if IS_HEAD in scope else scope["method"]
    return method if method in METHODS else OTHER


def _name(method: str, route: str | None) -> str:
    """Return the name of a request's span, which has no id of a session in it."""
    verb = "HTTP" if method == OTHER else method
    return verb if route is None else f"{verb} {route}"


def _context(scope: Scope) -> Context:
    """Return the context of the request's `traceparent`; an empty one if there is none."""
    carrier = dict[str, list[str]]()
    for name, value in scope["headers"]:
        if name in TRACE_HEADERS:
            carrier.setdefault(TRACE_HEADERS[name], []).append(value.decode("latin-1"))
    return PROPAGATOR.extract(carrier, Context()) if carrier else Context()


def _resource() -> Resource:
    """Return what is said of this process: the environment's words first."""
    found = Resource.create({SERVICE_VERSION: version("optim-service")})
    is_named = not str(found.attributes[SERVICE_NAME]).startswith("unknown_service")
    return found if is_named else found.merge(Resource({SERVICE_NAME: "optim-service"}))
