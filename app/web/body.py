"""A request's body as a route sees it, on a connection of the bulk lane."""

import weakref
from collections.abc import Callable
from typing import Protocol

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

EXTENSION = "optim.body"
"""Where a route finds the `Body`: in the ASGI scope's extensions."""
BULK_BYTES = 1 << 16
"""Shorter bodies are read as cheaply by uvicorn. So much it reads ahead in any case."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Lane(Protocol):
    """The part of a connection that a body sets."""

    bulk: memoryview | None
    """What is to be filled of the buffer that a route gave."""
    count: Callable[[int], None]
    """Told of the bytes that fill it."""
    unwanted: int
    """How many bytes are to come of a body whose buffer was let go."""


class Body:
    """A request's body, as a route sees it."""

    def __init__(self, http: Lane, cycle: RequestResponseCycle) -> None:
        # Both know it: without these it would take a garbage collection to let go of each request and connection.
        self._http: Lane = weakref.proxy(http)
        self._cycle: RequestResponseCycle = weakref.proxy(cycle)

    async def begun(self) -> None:
        """Wait until it is whole, or the client is gone, or `BULK_BYTES` of it have come: from then on it is quick."""
        cycle = self._cycle
        if cycle.more_body and cycle.waiting_for_100_continue:
            cycle.transport.write(CONTINUE)
            cycle.waiting_for_100_continue = False
        while cycle.more_body and not cycle.disconnected and len(cycle.body) < BULK_BYTES:
            cycle.message_event.clear()
            await cycle.message_event.wait()
        cycle.message_event.set()  # for who receives it

    def receive_into(self, buffer: memoryview, count: Callable[[int], None]) -> bool:
        """Have the body received into `buffer`, which has its length: the next ASGI `receive` waits until it is full.

        `count` is told of the bytes that have come. Only for a body whose length is announced. False where all of it
        came before it was asked for, or the client is gone: then `receive` goes its usual way.
        """
        cycle = self._cycle
        if not cycle.more_body or cycle.disconnected:
            return False
        position = len(cycle.body)
        buffer[:position] = cycle.body
        cycle.body = bytearray()
        cycle.message_event.clear()
        self._http.bulk, self._http.count = buffer[position:], count
        count(position)
        return True

    def drop(self) -> None:
        """Let go of the buffer: what is still to come of the body is received, and forgotten."""
        if self._http.bulk is not None:
            self._http.unwanted, self._http.bulk = len(self._http.bulk), None
