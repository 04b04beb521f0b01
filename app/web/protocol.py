"""HTTP/1.1 on one connection: uvicorn's protocol, with a lane around its parser. Knows no route and no setting's name.

Also here, because uvicorn lacks them: read and write deadlines, a maximum head size, pacing, and problem documents for
malformed HTTP.
"""

import asyncio
from typing import Any

import httptools
from uvicorn import Config
from uvicorn.server import ServerState

from app.errors import MalformedBody, MalformedHeader, ServiceError
from app.web.body import BODY_EXTENSION, Body
from app.web.deadlines import Deadlines, Timeouts
from app.web.lane import Lane
from app.web.one_write import OneWrite
from app.web.pacing import Pacing
from app.web.refusals import close_late, reason, refuse, reset_late
from app.web.regions import REGIONS_EXTENSION, Regions, offered
from app.web.request_head import check_version, origin_form, without_upgrade
from app.web.starting import Starting
from app.web.traffic import TRAFFIC, Traffic

LONGEST_HEAD = 1 << 16
"""Bytes, and what is received at once beyond them. Also of what follows a chunked body."""


class Http(Starting):
    """The protocol of one connection: the parser's callbacks, and what they start."""

    _bytes_beside_bodies = 0
    """Bytes in a row that belong to no body: those of a head."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        lane: Lane,
        timeouts: Timeouts,
        pacing: Pacing,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop, pacing=pacing)
        self._lane = lane
        self._traffic: Traffic = app_state.get(TRAFFIC) or Traffic()
        self._check_seconds = timeouts.check_seconds
        self._deadlines = Deadlines(timeouts, self.loop.time)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._regions = Regions(transport) if offered(transport) else None
        self._deadlines.expect_head()
        self._check_deadlines()

    def connection_lost(self, exc: Exception | None) -> None:
        self._next_check.cancel()
        self._unset_keepalive_if_required()  # uvicorn does so only if the connection was not reset
        self._lane.close()
        if self._regions is not None:
            self._regions.close()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._deadlines.has_incoming and self.timeout_keep_alive_task is not None:
            self._deadlines.expect_head()  # even an empty line ends uvicorn's wait for the next request
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            self._cannot_read(reason(error, self.parser.get_method()))
        self._bytes_beside_bodies += len(data)
        if self._bytes_beside_bodies > LONGEST_HEAD and not self.transport.is_closing():
            self._cannot_read(f"the head is longer than {LONGEST_HEAD} bytes: shorten its header fields")

    def _feed(self, data: bytes) -> None:
        """Parse the bytes. The parser stops after a head that offers an upgrade: a fresh parser reads that head again
        without the offer, and then the rest.
        """
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as stop:
                parsed = int(stop.args[0])
            method, version = self.parser.get_method(), self.parser.get_http_version()
            self.parser = _fresh_parser(self)
            self.parser.feed_data(without_upgrade(method, self.url, version, self.headers))
            data = data[parsed:]

    def on_message_begin(self) -> None:
        if not self._deadlines.has_incoming:
            self._deadlines.expect_head()
        if not self.flow.write_paused:
            self._deadlines.end_outgoing()  # the client has the answer before
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            if self.parser.get_method() == b"CONNECT":
                raise MalformedHeader("CONNECT is for proxies, and this is none")
            return  # the head comes again, without the offer
        check_version(self.parser.get_http_version())
        self._deadlines.expect_body()
        self.url = origin_form(self.url, self.headers)
        super().on_headers_complete()
        if self.scope["method"] != "HEAD":  # whose answer has no body to wait for
            self.cycle.transport = OneWrite(self.transport, self.loop)  # type: ignore[assignment]
        found: dict[str, Any] = {REGIONS_EXTENSION: self._regions}
        if self._held is None:  # the lane is for large bodies
            found[BODY_EXTENSION] = Body(self._lane, self.cycle)
        self.scope["extensions"] = found

    def on_body(self, body: bytes) -> None:
        self._count_body(len(body))
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._deadlines.end_incoming()
        self._bytes_beside_bodies = 0
        super().on_message_complete()
        if self.cycle.response_complete and self.timeout_keep_alive_task is None:  # answered before it was whole
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def body_received(self, nbytes: int) -> None:
        """Count bytes of a body that came through the lane, and end the request when it is whole."""
        self._unset_keepalive_if_required()
        self._count_body(nbytes)
        if self._lane.received(nbytes):
            self.parser = _fresh_parser(self)
            self.on_message_complete()

    def _count_body(self, nbytes: int) -> None:
        self._bytes_beside_bodies = 0
        self._traffic.received += nbytes
        self._deadlines.received(nbytes)

    def pause_writing(self) -> None:
        self._deadlines.expect_taking(self.transport.get_write_buffer_size())
        super().pause_writing()

    def resume_writing(self) -> None:
        self._deadlines.end_outgoing()
        super().resume_writing()

    def _cannot_read(self, why: str) -> None:
        """Refuse the bytes, and all that follow. A request that came before them is answered first."""
        self._deadlines.end_incoming()
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
        refuse(self.transport, self.client, error, self.server_state.default_headers)

    def _check_deadlines(self) -> None:
        """Close the connection of a client that is late, and look again after a while."""
        late = self._deadlines.late_incoming(self.flow.read_paused)
        if late is not None and not self.transport.is_closing():
            close_late(self.transport, self.client, late)
        late = self._deadlines.late_outgoing(self.transport.get_write_buffer_size(), self.endless_bytes)
        if late is not None:
            reset_late(self.transport, self.client, late)
        self._next_check = self.loop.call_later(self._check_seconds, self._check_deadlines)


def _fresh_parser(callbacks: Http) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(callbacks)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
    return parser
