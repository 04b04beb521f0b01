"""Problem documents, the one form of every error in an answer (RFC 9457)."""

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.errors import ServiceError

ERROR = "optim.error"
"""The key in a request's ASGI scope of the error that answers it, for its log line."""


class Problem(Response):
    """The answer for an error."""

    def __init__(self, error: ServiceError) -> None:
        super().__init__(orjson.dumps(error.problem()), error.status, error.headers(), "application/problem+json")
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[ERROR] = self._error
        await super().__call__(scope, receive, send)
