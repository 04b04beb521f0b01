"""The events of a session, as they happen: an answer without an end."""

import re
import time
from collections.abc import Callable
from contextlib import suppress

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from app.errors import MalformedHeader, Overloaded, ServiceError
from app.records import not_found
from app.roles import Role
from app.routes import openapi as schema
from app.routes.query import StrictRoute
from app.routes.waits import while_connected
from app.service import Has, Reader
from app.store.base import Head
from app.streams import Stream, Streams
from app.web.endless import ENDLESS, Endless
from app.web.head_method import IS_HEAD
from app.web.problems import Problem
from app.wire.event_text import ALIVE, MEDIA_TYPE, opening

router = APIRouter(tags=["sessions"], route_class=StrictRoute)

ALIVE_SECONDS = 15.0
"""The silence after which a comment is sent; and the time for which a caller's key is not checked again."""
NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
"""For caches, and for proxies that would collect the answer before they pass it on (nginx)."""


@router.get(
    "/v1/sessions/{session_id}/events",
    operation_id="getEvents",
    summary="Follow a session as it trains",
    response_class=Response,
    openapi_extra={"parameters": [schema.LAST_EVENT_ID]},
    responses=schema.event_answer("malformed_header", "session_not_found", "state_damaged", "overloaded"),
)
async def get_events(request: Request, session_id: str, service: Has, caller: Reader) -> Response:
    """Server-sent events: each row of the history as it is made (`step`), and what happened between steps (`undo`,
    `settings`). `Last-Event-ID` resumes after an event. The answer ends when the session is gone.
    """
    head = await service.records.head(caller.tenant, session_id)
    number = _number(request.headers.get("last-event-id"), head)
    authorization = request.headers.get("authorization")

    def check_caller() -> None:
        now = service.keys.caller(authorization)
        now.check_may(Role.read)
        if now.tenant != caller.tenant:
            raise not_found(session_id)

    return Events(service.streams, head, number, check_caller)


def _number(given: str | None, head: Head) -> int:
    """Return the number after which to begin: at most the session's, which is lower than before in a restored store."""
    if given is None:
        return head.version
    if not NUMBER.fullmatch(given):
        raise MalformedHeader(f"Last-Event-ID is {given!r:.80}: it must be the `id` of an event, a whole number")
    return min(int(given), head.version)


class Events(Response):
    """The answer: events until the session is gone, its client leaves, its key is revoked or the service stops."""

    media_type = MEDIA_TYPE

    def __init__(self, streams: Streams, head: Head, number: int, check_caller: Callable[[], None]) -> None:
        self.status_code = 200
        self.background = None
        self.init_headers(HEADERS)
        self._streams = streams
        self._head = head
        self._number = number
        self._check_caller = check_caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._streams.open(self._head.session_id, self._head.version, self._number) as stream:
                await self._answer(stream, scope, receive, send)
        except Overloaded as error:
            await Problem(error)(scope, receive, send)

    async def _answer(self, stream: Stream, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if IS_HEAD not in scope:
            endless = scope[ENDLESS] = Endless()
            with suppress(ClientDisconnect):
                await while_connected(Request(scope, receive), self._send(stream, endless, send))
        await send({"type": "http.response.body", "body": b""})

    async def _send(self, stream: Stream, endless: Endless, send: Send) -> None:
        """Send events to the end. If that is an error, the answer ends too: to the next request, the error answers."""
        text: bytes | None = opening(self._number)
        checked = time.monotonic()
        with suppress(ServiceError):
            while text is not None:
                endless.written += len(text)
                await send({"type": "http.response.body", "body": text, "more_body": True})
                text = await stream.next(ALIVE_SECONDS)
                if text == b"":
                    text = ALIVE
                if time.monotonic() >= checked + ALIVE_SECONDS:
                    self._check_caller()
                    checked = time.monotonic()
