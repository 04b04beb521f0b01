"""The connection: what the event loop gives a client's bytes to. Knows no route and no setting's name.

    socket ─→ Connection ─→ Http (uvicorn's parser) ─→ route      a request's head, small bodies, chunked ones
    socket ─→ Connection ─→ the route's buffer                    a large body, once a route asks for it

uvicorn's protocol decides all else: pipelined requests, keep-alive, 100-continue, disconnects, shutdown. It is held
and not inherited, because an event loop fills a buffer only for a protocol that is no `asyncio.Protocol`. While the
lane fills the route's buffer the parser stands still; after the body a fresh one takes the next request. A body that
no route asks for (the answer is 413, say) goes uvicorn's way, which drops it.
"""

import asyncio
from typing import Any, ClassVar

from uvicorn import Config
from uvicorn.server import ServerState

from app.web.deadlines import Timeouts
from app.web.lane import Lane
from app.web.pacing import Pacing
from app.web.protocol import Http

RECEIVE_BYTES = 1 << 15
FIRST_BYTES = 1 << 11
"""The most to receive at once before the first request, so that a burst's heads are read before its bodies."""


class Connection(asyncio.BufferedProtocol):
    """The event loop's side of a connection. It lends its buffer to the lane while a body fills it."""

    _spare: ClassVar[list[memoryview]] = []
    """Buffers that are not in use: most connections wait, and hold none meanwhile."""
    _lent: memoryview | None = None

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        timeouts: Timeouts,
        pacing: Pacing,
    ) -> None:
        self._lane = Lane()
        self._http = Http(config, server_state, app_state, _loop, lane=self._lane, timeouts=timeouts, pacing=pacing)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._http.connection_made(transport)  # type: ignore[arg-type]

    def get_buffer(self, sizehint: int) -> memoryview:
        if self._lane.is_open:
            self._give_back()  # under TLS a buffer is asked for, and then there may be nothing to receive
            return self._lane.room(RECEIVE_BYTES)
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
