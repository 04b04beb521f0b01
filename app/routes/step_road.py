"""The step's own road: a layer in front of FastAPI that answers the one call that a training loop repeats.

FastAPI's layers between the server and a route take longer than a small step. The road calls the same function as
FastAPI's route, which stays for the schema, and hands every other request on.
"""

import re

from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.routes import steps
from app.routes.failures import FAILURES, problem_of
from app.service import service_of, writer

(ROUTE,) = steps.router.routes
PATH = re.compile(r"/v1/sessions/([^/]+)/steps")


class StepRoad:
    """The layer that answers `POST /v1/sessions/{session_id}/steps`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        session_id = _session_id(scope)
        if session_id is None:
            await self._app(scope, receive, send)
            return
        scope["route"], scope["path_params"] = ROUTE, {"session_id": session_id}
        response = await _answer(Request(scope, receive), session_id)
        await response(scope, receive, send)


async def _answer(request: Request, session_id: str) -> Response:
    try:
        return await steps.take_step(request, session_id, await service_of(request), await writer(request))
    except FAILURES as error:
        return problem_of(error)


def _session_id(scope: Scope) -> str | None:
    """Return the session's id in the path of a step without a query; `None` for any other request."""
    if scope["type"] != "http" or scope["method"] != "POST" or scope["query_string"] or scope.get("root_path"):
        return None
    match = PATH.fullmatch(scope["path"])
    return match and match[1]
