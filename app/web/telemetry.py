"""Telemetry of requests: a request id on every answer, one log line for each, and its metrics.

Plain ASGI: Starlette's base class for middleware hides disconnects and cancels what it wraps.
"""

import asyncio
import random
import re
import time
from collections.abc import Callable
from typing import Protocol

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import Overloaded, ServiceError
from app.logs import REQUEST, REQUEST_ID, TRACE_ID, log
from app.web.endless import ENDLESS
from app.web.head_method import as_get
from app.web.one_write import WHOLE_BODY
from app.web.phases import CURRENT, Phases
from app.web.problems import ERROR
from app.web.traffic import Traffic

HEADERS = "optim.headers"
"""The key in a request's ASGI scope of header fields that are added to its answer, also to a refusal."""
TENANT = "optim.tenant"
"""The key in the scope of the tenant, once that is known."""
SESSION = "optim.session"
"""The key in the scope of a session that the request has made."""
STEP = "optim.step"
"""The key in the scope of the number of the step that the request was answered with."""
FIT_FOR_A_LOG = re.compile(r"[A-Za-z0-9._:-]{1,128}")
ID = re.compile(r"[0-9a-f]{32}")
LONGEST_WORDS = 400


class Count(Protocol):
    """A function that counts an answered request, with the `code` of its problem, and the `phases` of a step."""

    def __call__(
        self, method: str, route: str, status: int, seconds: float | None, code: str | None, phases: list[float] | None
    ) -> None: ...


class Telemetry:
    """The outermost layer: whatever happens inside, a client gets an answer with a request id."""

    def __init__(
        self, app: ASGIApp, count: Count, traffic: Traffic, answer_error: Callable[[ServiceError], ASGIApp]
    ) -> None:
        self._app = app
        self._count = count
        self._traffic = traffic
        self._answer_error = answer_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        phases = Phases(started := time.perf_counter())
        request_id = _request_id(scope)
        status, method = 0, scope["method"]
        is_head = method == "HEAD"
        scope, send = as_get(scope, send)

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
                if HEADERS in scope:
                    message["headers"] += [(name.encode(), value.encode()) for name, value in scope[HEADERS].items()]
            if not is_head:
                self._traffic.sent += len(message.get("body") or message.get(WHOLE_BODY, b""))
            await send(message)

        token, current, trace = REQUEST_ID.set(request_id), CURRENT.set(phases), TRACE_ID.set(None)
        try:
            await self._app(scope, receive, send_with_id)
        except asyncio.CancelledError:  # the server stops, and OPTIM_SHUTDOWN_SECONDS have passed
            if not status:
                stopping = Overloaded("the service stops before this is done; send the request again")
                await self._answer_error(stopping)(scope, receive, send_with_id)
            raise
        except Exception:
            log.exception("request failed", method=method, path=scope["path"])
            if status:
                raise
            failed = self._answer_error(ServiceError("an unexpected error; the log has it under the request id"))
            await failed(scope, receive, send_with_id)
        finally:
            self._record(method, scope, status, time.perf_counter() - started, phases)
            REQUEST_ID.reset(token)
            CURRENT.reset(current)
            TRACE_ID.reset(trace)

    def _record(self, method: str, scope: Scope, status: int, seconds: float, phases: Phases) -> None:
        route = getattr(scope.get("route"), "path", "none")
        error: ServiceError | None = scope.pop(ERROR, None)  # else both would wait for a garbage collection
        code = None if error is None else error.code
        timed = None if ENDLESS in scope else seconds  # a stream lasts as long as its client listens
        self._count(method, route, status, timed, code, phases.seconds if STEP in scope else None)
        _level(status, route)(
            REQUEST,
            method=method,
            route=route,
            status=status,
            ms=round(1000 * seconds, 2),
            **phases.milliseconds(),
            **about(scope),
            **(_refusal(error) if error is not None else {}),
        )


def _level(status: int, route: str) -> Callable[..., None]:
    if status >= 500:
        return log.warning if status == Overloaded.status else log.error
    return log.debug if route in ("/livez", "/readyz", "/metrics") else log.info


def about(scope: Scope) -> dict[str, str | int]:
    """Return a request's tenant, session and step, as far as they are known."""
    known = dict[str, str | int]()
    if TENANT in scope:
        known["tenant"] = scope[TENANT]
    session = scope.get(SESSION) or scope.get("path_params", {}).get("session_id", "")
    if ID.fullmatch(session):
        known["session"] = session
    if STEP in scope:
        known["step"] = scope[STEP]
    return known


def _refusal(error: ServiceError) -> dict[str, str]:
    """Return the code of a refusal, and the cause of a failure."""
    told = {"code": error.code}
    if error.status >= 500:
        told["detail"] = error.detail[:LONGEST_WORDS]
        if error.__cause__ is not None:
            told["cause"] = f"{type(error.__cause__).__name__}: {error.__cause__}"[:LONGEST_WORDS]
    return told


def _request_id(scope: Scope) -> str:
    """Return the id that the client sent if it is fit for a log, else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            text: str = value.decode("latin-1")
            if FIT_FOR_A_LOG.fullmatch(text):
                return text
    return f"{random.getrandbits(128):032x}"
