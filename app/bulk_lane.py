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

uvicorn has no deadline for a request's head or body, so they are here. Knows no route and no setting's name.
"""

import asyncio
from typing import Any

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

EXTENSION = "optim.body"
"""Where a route finds the `Body`: in the ASGI scope's extensions, and only for a large one of known length."""
BULK_BYTES = 1 << 16
"""Shorter bodies are read as cheaply by uvicorn."""
RECEIVE_BYTES = 1 << 15
SLOWEST_BYTES_PER_SECOND = 1 << 14
"""A body may take a second longer for each so many bytes that have come."""


class Connection(asyncio.BufferedProtocol):
    """What the event loop gives a connection's bytes to."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        head_seconds: float,
        body_seconds: float,
    ) -> None:
        self._http = Http(config, server_state, app_state, _loop)
        self._http.head_seconds, self._http.body_seconds = head_seconds, body_seconds
        self._received = memoryview(bytearray(RECEIVE_BYTES))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._http.connection_made(transport)  # type: ignore[arg-type]

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._http.bulk or self._received

    def buffer_updated(self, nbytes: int) -> None:
        if self._http.bulk is None:
            self._http.data_received(self._received[:nbytes])  # type: ignore[arg-type]
        else:
            self._http.bulk_received(nbytes)

    def eof_received(self) -> None:
        self._http.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._http.connection_lost(exc)

    def pause_writing(self) -> None:
        self._http.pause_writing()

    def resume_writing(self) -> None:
        self._http.resume_writing()


class Body:
    """A large body that is announced, as a route sees it."""

    def __init__(self, http: "Http", cycle: RequestResponseCycle, length: int) -> None:
        self._http = http
        self._cycle = cycle
        self.length = length

    def receive_into(self, buffer: memoryview) -> bool:
        """Have the body received into `buffer`, which has its length: the next ASGI `receive` waits until it is full.

        False where all of it came before it was asked for, or the client is gone: then `receive` goes its usual way.
        """
        cycle = self._cycle
        if not cycle.more_body or cycle.disconnected:
            return False
        position = len(cycle.body)
        buffer[:position] = cycle.body
        cycle.body = bytearray()
        cycle.message_event.clear()
        self._http.bulk = buffer[position:]
        return True


class Http(HttpToolsProtocol):
    """uvicorn's protocol, with a way around its parser, and deadlines for what a client owes."""

    head_seconds: float
    body_seconds: float
    bulk: memoryview | None = None
    """What is to be filled of the buffer that a route gave."""
    _owed_since: float | None = None
    """When the head or the body began that has not come whole; `None` between requests."""
    _allowed_seconds: float
    _body_bytes = 0
    """How many bytes of the body have come."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._owes(self.head_seconds)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._watcher.cancel()
        self.bulk = None
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._owes(self.head_seconds)
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._owes(self.body_seconds)
        super().on_headers_complete()
        length = next((int(value) for name, value in self.headers if name == b"content-length"), 0)
        if length >= BULK_BYTES and not self.parser.should_upgrade():
            self.scope["extensions"] = {EXTENSION: Body(self, self.cycle, length)}  # type: ignore[dict-item]

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._owed_since = None
        super().on_message_complete()

    def bulk_received(self, nbytes: int) -> None:
        """So many bytes more of the buffer are filled."""
        assert self.bulk is not None
        self._body_bytes += nbytes
        self.bulk = self.bulk[nbytes:]
        if not self.bulk:
            self.bulk = None
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.on_message_complete()

    def _owes(self, seconds: float) -> None:
        self._owed_since, self._allowed_seconds, self._body_bytes = self.loop.time(), seconds, 0

    def _watch(self) -> None:
        """Look from time to time, and close the connection of a client that is late."""
        if self._owed_since is not None:
            now = self.loop.time()
            if self.flow.read_paused:  # then it is the service that does not read
                self._owed_since = now
            allowed = self._allowed_seconds + self._body_bytes / SLOWEST_BYTES_PER_SECOND
            if now >= self._owed_since + allowed:
                self.transport.close()
        self._watcher = self.loop.call_later(min(self.head_seconds, self.body_seconds) / 4, self._watch)
