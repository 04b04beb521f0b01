"""A request's body as a route sees it on a connection of the bulk lane."""

import weakref
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from app.web.lane import Lane

BODY_EXTENSION = "optim.body"
"""The key of the `Body` in the ASGI scope's extensions."""
BULK_BYTES = 1 << 16
"""The shortest body for the lane. uvicorn reads shorter ones as cheaply, and so much it reads ahead in any case."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Body:
    """A request's body."""

    def __init__(self, lane: Lane, cycle: RequestResponseCycle) -> None:
        self._lane = lane
        # Weak, because the cycle's scope holds this body: a circle would keep each request until a garbage collection.
        self._cycle: RequestResponseCycle = weakref.proxy(cycle)

    async def begun(self) -> None:
        """Wait until the body is whole, or `BULK_BYTES` of it have come, or the client is gone."""
        cycle = self._cycle
        if cycle.more_body and cycle.waiting_for_100_continue:
            cycle.transport.write(CONTINUE)
            cycle.waiting_for_100_continue = False
        while cycle.more_body and not cycle.disconnected and len(cycle.body) < BULK_BYTES:
            cycle.message_event.clear()
            await cycle.message_event.wait()
        cycle.message_event.set()  # for the ASGI `receive` that follows

    def receive_into(self, buffer: memoryview, count: Callable[[int], None]) -> bool:
        """Receive the body into `buffer`, which has its announced length: the next ASGI `receive` waits for the rest.

        `count` is told of the bytes that have come. Return false if the whole body has come already, or the client is
        gone: then `receive` works as usual.
        """
        cycle = self._cycle
        if not cycle.more_body or cycle.disconnected:
            return False
        position = len(cycle.body)
        buffer[:position] = cycle.body
        cycle.body = bytearray()
        cycle.message_event.clear()
        self._lane.fill(buffer[position:], count)
        count(position)
        return True

    def drop(self) -> None:
        """Let go of the buffer: the rest of the body is received, and thrown away."""
        self._lane.drop()
