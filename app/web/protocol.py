"""The bulk lane: a large body goes from the socket straight into one kept buffer, and a late client is let go.

uvicorn gives an application a body in pieces of 64 KB and copies each about five times: for 40 MB that is several times
what the socket takes. Here a route hands over a buffer of the announced length (`Body.receive_into`), and the rest of
the body is received into it without a copy:

    socket ─→ Connection ─→ Http (uvicorn's parser) ─→ route      a request's head, small bodies, chunked ones
    socket ─→ Connection ─→ the route's buffer                    a large body, once a route asks for it

uvicorn's protocol stays what decides: requests in a pipeline, keep-alive, 100-continue, disconnects, shutdown. It is
held and not inherited, because an event loop fills a buffer only for a protocol that is no `asyncio.Protocol`. While
the lane fills the buffer its parser stands still; after the body a fresh one takes the next request. A body that no
route asks for (it is answered 413, say) goes uvicorn's way, which drops it.

uvicorn has no deadline for a request's head or body, nor for the taking of an answer, no longest head, and begins all
that comes at once, so they are here; and what is no HTTP is refused as everything else is. Knows no route and no
setting's name.
"""

import asyncio
import socket
import struct
import uuid
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import httptools
from uvicorn import Config
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from app.errors import MalformedBody, MalformedHeader, ServiceError
from app.logs import log
from app.web.body import EXTENSION, Body
from app.web.deadlines import Debt
from app.web.pacing import Pace
from app.web.problems import Problem
from app.web.request_head import check_version, origin_form, without_upgrade

RECEIVE_BYTES = 1 << 15
FIRST_BYTES = 1 << 11
"""On a new connection: mostly a head, so that a crowd's heads are read before its bodies."""
LONGEST_HEAD = 1 << 16
"""Bytes, and what is received at once beyond them. Also of what follows a chunked body."""


class Connection(asyncio.BufferedProtocol):
    """What the event loop gives a connection's bytes to."""

    _spare: ClassVar[list[memoryview]] = []
    """Buffers that nothing is received into: most connections wait, and do so without one."""
    _lent: memoryview | None = None

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        head_seconds: float,
        body_seconds: float,
        answer_seconds: float,
        pace: Pace,
    ) -> None:
        self._http = Http(config, server_state, app_state, _loop)
        self._http.head_seconds, self._http.body_seconds = head_seconds, body_seconds
        self._http.answer_seconds = answer_seconds
        self._http.pace = pace

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._http.connection_made(transport)  # type: ignore[arg-type]

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._http.bulk is not None or self._http.unwanted:
            self._give_back()  # under TLS a buffer is asked for, and then there is nothing to receive
            return self._http.bulk or memoryview(bytearray(min(self._http.unwanted, RECEIVE_BYTES)))
        if self._lent is None:
            try:
                self._lent = self._spare.pop()
            except IndexError:
                self._lent = memoryview(bytearray(RECEIVE_BYTES))
        return self._lent[:FIRST_BYTES] if self._http.cycle is None else self._lent

    def buffer_updated(self, nbytes: int) -> None:
        if self._lent is None:
            self._http.body_received(nbytes)
        else:
            self._http.data_received(self._lent[:nbytes])  # type: ignore[arg-type]
            self._give_back()

    def _give_back(self) -> None:
        if self._lent is not None:
            self._spare.append(self._lent)
            self._lent = None

    def eof_received(self) -> None:
        self._http.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._give_back()
        self._http.connection_lost(exc)

    def pause_writing(self) -> None:
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._http.resume_writing()


class Http(HttpToolsProtocol):
    """uvicorn's protocol, with a way around its parser, and deadlines for what a client owes."""

    head_seconds: float
    body_seconds: float
    answer_seconds: float
    pace: Pace
    bulk: memoryview | None = None
    count: Callable[[int], None]
    unwanted: int = 0
    _owed: Debt | None = None
    """The head or the body that has not come whole; `None` between requests."""
    _untaken: Debt | None = None
    """What was written and waits for the client to take it."""
    _waiting_bytes = 0
    """How many waited when that began."""
    _bytes_beside_bodies = 0
    """How many have come in a row that were not of a body: those of a head."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._owes("head", self.head_seconds)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._watcher.cancel()
        self._unset_keepalive_if_required()  # uvicorn does so where the connection was not reset
        self.bulk = None
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._owed is None and self.timeout_keep_alive_task is not None:
            self._owes("head", self.head_seconds)  # it may be no head yet, but an empty line; and uvicorn waits no more
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._cannot_read(self._why(error))
        self._bytes_beside_bodies += len(data)
        if self._bytes_beside_bodies > LONGEST_HEAD and not self.transport.is_closing():
            self._cannot_read(f"the head is longer than {LONGEST_HEAD} bytes: shorten its header fields")

    def _feed(self, data: bytes) -> None:
        """Have the bytes parsed. The parser stops after a head that offers an upgrade: that head is read once more
        without the offer, by a fresh parser, and the rest goes on there as it came.
        """
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as stop:
                parsed = int(stop.args[0])
            method, version = self.parser.get_method(), self.parser.get_http_version()
            self.parser = self._fresh_parser()
            self.parser.feed_data(without_upgrade(method, self.url, version, self.headers))
            data = data[parsed:]

    def _fresh_parser(self) -> httptools.HttpRequestParser:
        parser = httptools.HttpRequestParser(self)
        parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        return parser

    def _why(self, error: httptools.HttpParserError) -> str:
        if isinstance(error.__context__, ServiceError):  # raised below, in a callback of the parser
            return error.__context__.detail
        if self.parser.get_method() == b"PRI":
            return "HTTP/2 is not spoken here: send HTTP/1.1"
        return f"this is not HTTP/1.1 ({error}): see the request line and the header fields"

    def on_message_begin(self) -> None:
        self._owes("head", self.head_seconds)
        if not self.flow.write_paused:
            self._untaken = None  # it has the answer before
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise MalformedHeader("CONNECT is for proxies, and this is none")
            return  # the head comes once more, without the offer
        check_version(self.parser.get_http_version())
        self._owes("body", self.body_seconds)
        self.url = origin_form(self.url, self.headers)
        super().on_headers_complete()
        self.scope["extensions"] = {EXTENSION: Body(self, self.cycle)}  # type: ignore[dict-item]

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if not self.pace.begin(cycle.scope["path"], partial(self._start, cycle, app)):
            self.flow.pause_reading()

    def _start(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self.flow.resume_reading()
        super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        self._has_come(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._owed = None
        self._bytes_beside_bodies = 0
        super().on_message_complete()
        if self.cycle.response_complete and self.timeout_keep_alive_task is None:  # it was answered before it was whole
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def body_received(self, nbytes: int) -> None:
        """Go on after so many bytes of a body have come around the parser."""
        self._unset_keepalive_if_required()
        self._has_come(nbytes)
        if self.bulk is None:
            self.unwanted -= nbytes
        else:
            self.bulk = self.bulk[nbytes:]
            self.count(nbytes)
        if not (self.bulk or self.unwanted):
            self.bulk = None
            self.parser = self._fresh_parser()
            self.on_message_complete()

    def pause_writing(self) -> None:
        self._waits_for_taking(self.transport.get_write_buffer_size())
        super().pause_writing()

    def resume_writing(self) -> None:
        self._untaken = None
        super().resume_writing()

    def _cannot_read(self, why: str) -> None:
        """Refuse what has come, and all that follows it. A request that came before it is answered first."""
        self._owed = None
        if self.cycle is None or self.cycle.response_complete:
            self._refuse(MalformedHeader(why))
        elif not self.cycle.more_body:
            self.cycle.keep_alive = False
            self.flow.pause_reading()
        elif self.cycle.response_started:
            self.transport.close()
        else:
            self._refuse(MalformedBody("the body's chunks are not those of HTTP/1.1"))

    def _refuse(self, error: ServiceError) -> None:
        request_id = uuid.uuid4().hex
        answer = Problem(error)
        fields = [
            *self.server_state.default_headers,
            *answer.raw_headers,
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
        ]
        head = [STATUS_LINE[answer.status_code], *(b"%b: %b\r\n" % field for field in fields), b"\r\n"]
        self.transport.write(b"".join([*head, answer.body]))
        self.transport.close()
        log.info(
            "refused", status=error.status, code=error.code, detail=error.detail, client=self.client_address,
            request_id=request_id,
        )  # fmt: skip

    def _log_late(self, debt: Debt) -> None:
        """Of heads seldom: browsers open connections that they may need, and scanners look what is there."""
        write = log.debug if debt.what == "head" else log.info
        write("closed a late connection", late=debt.what, after_bytes=debt.paid, client=self.client_address)

    @property
    def client_address(self) -> str | None:
        return "{}:{}".format(*self.client) if self.client else None

    def _reset(self) -> None:
        """Drop what waits here and in the kernel: to close a connection is to wait until all is taken."""
        link = self.transport.get_extra_info("socket")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _owes(self, what: str, seconds: float) -> None:
        self._owed = Debt(what, self.loop.time(), seconds)

    def _waits_for_taking(self, nbytes: int) -> None:
        self._untaken, self._waiting_bytes = Debt("answer", self.loop.time(), self.answer_seconds), nbytes

    def _has_come(self, nbytes: int) -> None:
        """So many bytes more of the body."""
        self._bytes_beside_bodies = 0
        if self._owed is not None:
            self._owed.paid += nbytes

    def _watch(self) -> None:
        """Look from time to time, and close the connection of a client that is late."""
        now = self.loop.time()
        if self._owed is not None:
            if self.flow.read_paused:  # then it is the service that does not read
                self._owed.since = now
            if self._owed.is_due(now) and not self.transport.is_closing():
                self._log_late(self._owed)
                self.transport.close()
        waiting = self.transport.get_write_buffer_size()
        if not waiting:
            self._untaken = None
        elif self._untaken is None:
            self._waits_for_taking(waiting)
        else:
            self._untaken.paid = self._waiting_bytes - waiting
            if self._untaken.is_due(now):
                self._log_late(self._untaken)
                self._reset()
        shortest = min(self.head_seconds, self.body_seconds, self.answer_seconds)
        self._watcher = self.loop.call_later(shortest / 4, self._watch)
