"""Spans of calls, made by OpenTelemetry: one for each call, with an event for each try.

The only module that knows OpenTelemetry, and imported only by a client with `tracing=True`. It needs the API alone: the
program decides with the SDK where spans go. A span has no arrays and no key, and neither query nor words of an error.
"""

from collections.abc import Generator, Mapping
from dataclasses import replace
from importlib.metadata import version
from typing import TypeVar

from opentelemetry import trace
from opentelemetry.trace import Span, SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from optim_client._address import is_local, socket_of, url_of
from optim_client._protocol import Call, Conversation, Outcome, Request, Response

PROPAGATOR = TraceContextTextMapPropagator()
IDS = {
    "sessions": ("session_id",),
    "workers": ("worker",),
    "rounds": ("round_number",),
    "contributions": ("worker", "seq"),
}
"""The ids that follow a segment of a path."""

T = TypeVar("T")


class Tracing:
    """The spans of one client. They go where the program's provider of tracers sends them, also one set later."""

    def __init__(self, base_url: str) -> None:
        self._tracer = trace.get_tracer("optim-client", version("optim-client"))
        self._server = _server(base_url)

    def traced(self, call: Call[T], conversation: Conversation[T]) -> tuple[Request, Conversation[T]]:
        """Begin the span of a call; return its request, with a `traceparent`, and its conversation, which ends it."""
        request, template = call.request, path_template(call.request.path)
        attributes = {"http.request.method": request.method, "url.template": template, **self._server}
        span = self._tracer.start_span(f"{request.method} {template}", kind=SpanKind.CLIENT, attributes=attributes)
        headers = dict(request.headers)
        PROPAGATOR.inject(headers, trace.set_span_in_context(span))
        return replace(request, headers=headers), _watched(span, conversation)


def _watched(span: Span, conversation: Conversation[T]) -> Generator[float, Outcome, T]:
    """Pass a conversation on. Its span has the tries, and ends with it."""
    number = 0
    try:
        pause = next(conversation)
        while True:
            number += 1  # no outcome stays in this frame: a traceback would keep its body
            pause = conversation.send(_noted(span, number, (yield pause)))
    except StopIteration as end:
        result: T = end.value
        return result
    except BaseException as error:
        is_left = isinstance(error, GeneratorExit)  # nobody waits for the answer any more
        span.set_attribute("error.type", "interrupted" if is_left else type(error).__name__)
        span.set_status(StatusCode.ERROR)
        raise
    finally:
        span.end()


def _noted(span: Span, number: int, outcome: Outcome) -> Outcome:
    """Note what a try came to, in its event; the span itself has that of the last one."""
    event: dict[str, str | int] = {"optim.try": number}
    if isinstance(outcome, Response):
        event["http.response.status_code"] = outcome.status
        span.set_attribute("http.response.status_code", outcome.status)
        if request_id := outcome.headers.get("x-request-id"):
            event["optim.request_id"] = request_id
    else:
        event["error.type"] = type(outcome).__name__
    span.add_event("try", event)
    return outcome


def path_template(path: str) -> str:
    """Return the path of a call with names in the place of ids, as the service's schema writes it."""
    segments = path.split("/")
    for i, segment in enumerate(segments):
        for j, name in enumerate(IDS.get(segment, ()), start=i + 1):
            if j < len(segments):
                segments[j] = f"{{{name}}}"
    return "/".join(segments)


def _server(base_url: str) -> Mapping[str, str | int]:
    """Return the attributes of the service's address; none for a service in this process."""
    if is_local(base_url):
        return {}
    if path := socket_of(base_url):
        return {"server.address": path}
    url = url_of(base_url)
    return {"server.address": url.host, "server.port": url.port or {"http": 80, "https": 443}[url.scheme]}
