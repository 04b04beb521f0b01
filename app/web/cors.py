"""CORS: the pages of other origins that may use the service from a browser (`OPTIM_CORS_ORIGINS`)."""

from collections.abc import Callable, Collection
from functools import partial

from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.types import ASGIApp

from app.errors import MalformedHeader
from app.web.names import EVERY, origin
from app.web.problems import Problem

METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
SENT = (
    "Accept", "Authorization", "Content-Type", "Idempotency-Key", "If-Match", "If-None-Match", "Last-Event-ID",
    "Prefer", "Traceparent", "Tracestate", "X-Request-ID",
)  # fmt: skip
"""Header fields that a page may send."""
READ = (
    "Allow", "Content-Disposition", "ETag", "Idempotent-Replayed", "Location", "Preference-Applied", "RateLimit",
    "RateLimit-Policy", "Retry-After", "X-Request-ID", "X-Should-Retry",
)  # fmt: skip
"""Header fields of an answer that a page may read, besides those that every page may."""


class Cors(CORSMiddleware):
    """Starlette's layer, with refusals as problem documents."""

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code == 200:
            return answer
        refusal = Problem(
            MalformedHeader(
                f"{bytes(answer.body).decode()}: the page's origin is {request_headers['origin']!r:.80}; the allowed "
                "ones are in OPTIM_CORS_ORIGINS"
            )
        )
        refusal.headers["vary"] = answer.headers["vary"]
        return refusal


def cors(origins: Collection[str]) -> Callable[[ASGIApp], ASGIApp]:
    """Return a wrapper that adds the layer to an application, or nothing if no origin is allowed."""
    if not origins:
        return lambda app: app
    return partial(
        Cors,
        allow_origins=[name if name == EVERY else origin(name) for name in origins],
        allow_methods=METHODS,
        allow_headers=SENT,
        expose_headers=READ,
        allow_private_network=True,
    )
