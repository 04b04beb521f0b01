"""Cross-origin requests: which pages of other origins a browser lets use the service (`OPTIM_CORS_ORIGINS`)."""

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
"""What a page may send."""
READ = (
    "Allow", "Content-Disposition", "ETag", "Idempotent-Replayed", "Location", "Preference-Applied", "RateLimit",
    "RateLimit-Policy", "Retry-After", "X-Request-ID", "X-Should-Retry",
)  # fmt: skip
"""What a page may read of an answer, beside what every page may."""


class Cors(CORSMiddleware):
    """Starlette's, but for the form of a refusal."""

    def preflight_response(self, request_headers: Headers) -> Response:
        answer = super().preflight_response(request_headers)
        if answer.status_code == 200:
            return answer
        refusal = Problem(
            MalformedHeader(
                f"{bytes(answer.body).decode()}: a page of {request_headers['origin']!r:.80} asks; the allowed origins "
                "are those of OPTIM_CORS_ORIGINS"
            )
        )
        refusal.headers["vary"] = answer.headers["vary"]
        return refusal


def cors(origins: Collection[str]) -> Callable[[ASGIApp], ASGIApp]:
    """Return what wraps an application in the layer, and leaves it as it is where no origin is allowed."""
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
