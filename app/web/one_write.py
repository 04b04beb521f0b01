"""One write for a small answer: each write to a socket is a system call, and wakes the client.

uvicorn writes an answer's head as soon as it has it. Here the head waits for the first part of the body, and at the
latest for the next turn of the event loop.
"""

import asyncio

LARGEST_JOINED = 1 << 16
"""Bytes of a body's part that is copied behind its head."""


class OneWrite:
    """The transport as one answer sees it: the first bytes wait for the next ones."""

    __slots__ = ("_first", "_has_written", "_loop", "_transport")

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._first: bytes | None = None
        self._has_written = False

    def write(self, data: bytes) -> None:
        if not self._has_written:
            self._has_written, self._first = True, data
            self._loop.call_soon(self._flush)
        elif self._first is not None and len(data) <= LARGEST_JOINED:
            first, self._first = self._first, None
            self._transport.write(b"%b%b" % (first, data))
        else:
            self._flush()
            self._transport.write(data)

    def _flush(self) -> None:
        if self._first is not None:
            first, self._first = self._first, None
            self._transport.write(first)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()
