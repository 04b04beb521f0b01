"""The road: an application beside FastAPI's that answers the calls that a training loop repeats.

FastAPI's layers between the server and a route take longer than a small step. The road calls the same function as
FastAPI's route, which stays for the schema.
"""

from collections.abc import Mapping
from typing import NamedTuple

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from app.roles import Role
from app.routes import rounds, steps
from app.routes.failures import FAILURES, problem_of
from app.service import Service, caller_of, service_of
from app.web.body import BULK_BYTES

ENDPOINTS = steps.take_step, rounds.contribute, rounds.contribute_async
"""The functions of the calls. Each takes the request, the path's parameters, the service and the caller, who writes."""
ROUTES = [
    (method, route)
    for router in (steps.router, rounds.router)
    for route in router.routes
    if isinstance(route, APIRoute) and route.endpoint in ENDPOINTS
    for method in route.methods or ()
]
CALL = "optim.call"
"""The key of a request's call in its scope."""


class Call(NamedTuple):
    """A route of the road, and the parameters in a request's path, in their order."""

    route: APIRoute
    path_params: Mapping[str, str]


def is_on_road(scope: Scope) -> bool:
    """Return true for a request without a query that the road answers."""
    if CALL in scope:
        return True
    if scope["type"] != "http" or scope["query_string"] or scope.get("root_path"):
        return False
    for method, route in ROUTES:
        if scope["method"] == method and (match := route.path_regex.fullmatch(scope["path"])):
            scope[CALL] = Call(route, match.groupdict())
            return True
    return False


async def road(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request that is on the road."""
    call: Call = scope[CALL]
    scope["route"], scope["path_params"] = call
    response = await _answer(RoadRequest(scope, receive), call)
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
    """A request on the road."""

    headers: Headers = Headers()
    """Not a property: a step looks at it ten times."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        super().__init__(scope, receive)
        self.headers = Fields(scope)


async def _answer(request: Request, call: Call) -> Response:
    try:
        service = await service_of(request)
        caller = caller_of(request, service, Role.write)
        response: Response = await call.route.endpoint(request, *call.path_params.values(), service, caller)
        return response
    except FAILURES as error:
        return problem_of(error)


class StepsAtOnce:
    """The steps that need no task: small ones of a session in memory, if a save does not wait either."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def may_take(self, scope: Scope) -> bool:
        return self._service.store.is_instant and _is_step(scope) and _length(scope) < BULK_BYTES

    def is_free(self, scope: Scope) -> bool:
        service = self._service
        return service.admission.is_open and service.stepping.is_quick(_session_of(scope), _length(scope))


def _is_step(scope: Scope) -> bool:
    return is_on_road(scope) and scope[CALL].route.endpoint is steps.take_step


def _session_of(scope: Scope) -> str:
    call: Call = scope[CALL]
    return call.path_params["session_id"]


def _length(scope: Scope) -> int:
    """Return the announced length of a body; `BULK_BYTES` if it is not announced."""
    for name, value in scope["headers"]:
        if name == b"content-length":
            return int(value)
    return BULK_BYTES
