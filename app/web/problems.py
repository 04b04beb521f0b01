"""The one way in which an error is written: RFC 9457."""

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.errors import ServiceError

ERROR = "optim.error"
"""Where in a request's ASGI scope there is the error that it was answered with, for its log line."""


class Problem(Response):
    """The answer that an error is."""

    def __init__(self, error: ServiceError) -> None:
        super().__init__(orjson.dumps(error.problem()), error.status, error.headers(), "application/problem+json")
        self._error = error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[ERROR] = self._error
        await super().__call__(scope, receive, send)
