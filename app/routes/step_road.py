"""The step's own road: an application beside FastAPI's that answers the one call that a training loop repeats.

FastAPI's layers between the server and a route take longer than a small step. The road calls the same function as
FastAPI's route, which stays for the schema.
"""

import re

from fastapi import Request, Response
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from app.roles import Role
from app.routes import steps
from app.routes.failures import FAILURES, problem_of
from app.service import Service, caller_of, service_of
from app.web.body import BULK_BYTES

ROUTE = next(route for route in steps.router.routes if getattr(route, "name", "") == "take_step")
PATH = re.compile(r"/v1/sessions/([^/]+)/steps")
STEP = "optim.step"
"""The key in the scope of a step's request of the session's id."""


def is_step(scope: Scope) -> bool:
    """Return true for the request of a step without a query."""
    if STEP in scope:
        return True
    if scope["type"] != "http" or scope["method"] != "POST" or scope["query_string"] or scope.get("root_path"):
        return False
    match = PATH.fullmatch(scope["path"])
    if match:
        scope[STEP] = match[1]
    return match is not None


async def step_road(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer `POST /v1/sessions/{session_id}/steps`."""
    session_id = scope[STEP]
    scope["route"], scope["path_params"] = ROUTE, {"session_id": session_id}
    response = await _answer(RoadRequest(scope, receive), session_id)
    await response(scope, receive, send)


class Fields(Headers):
    """The header fields of a request, found by name in a dictionary."""

    def __init__(self, scope: Scope) -> None:
        fields = scope["headers"]
        super().__init__(raw=fields)
        self._by_name = {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(fields)}
        self._has_repeated = len(self._by_name) < len(fields)

    def get(self, key: str, default: str | None = None) -> str | None:  # type: ignore[override]
        return self._by_name.get(key, default)

    def getlist(self, key: str) -> list[str]:
        if self._has_repeated:
            return super().getlist(key)
        return [self._by_name[key]] if key in self._by_name else []


class RoadRequest(Request):
    """The request of a step."""

    headers: Headers = Headers()
    """Not a property: a step looks at it ten times."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        self.headers = Fields(scope)


async def _answer(request: Request, session_id: str) -> Response:
    try:
        service = await service_of(request)
        return await steps.take_step(request, session_id, service, caller_of(request, service, Role.write))
    except FAILURES as error:
        return problem_of(error)


class StepsAtOnce:
    """The steps that need no task: small ones of a session in memory, if a save does not wait either."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def may_take(self, scope: Scope) -> bool:
        return self._service.store.is_instant and is_step(scope) and _length(scope) < BULK_BYTES

    def is_free(self, scope: Scope) -> bool:
        service = self._service
        return service.admission.is_open and service.stepping.is_quick(scope[STEP], _length(scope))


def _length(scope: Scope) -> int:
    """Return the announced length of a body; `BULK_BYTES` if it is not announced."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value)
    return BULK_BYTES
