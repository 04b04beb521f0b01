"""The one way in which an error is written: RFC 9457."""

import orjson
from starlette.responses import Response

from app.errors import ServiceError


def problem_response(error: ServiceError) -> Response:
    return Response(orjson.dumps(error.problem()), error.status, error.headers(), "application/problem+json")
