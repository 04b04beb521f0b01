"""One write for a small answer: each write to a socket is a system call, and wakes the client.

uvicorn writes an answer's head as soon as it has it. Here the head waits for the first part of the body, and at the
latest for the next turn of the event loop. An application that has a whole small answer sends it as one message, for
which uvicorn's checks of each message and of each field are made once (`with_whole_answers`).
"""

import asyncio
import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

WHOLE_BODY = "optim.whole_body"
"""The key of a message that starts an answer and has its body, too, which is as long as its `content-length` says; and
of the scope's extensions, where the server takes such messages."""
FORBIDDEN = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""The characters that no header field may have."""
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


def with_whole_answers(app: ASGIApp, cycle: RequestResponseCycle, transport: asyncio.Transport) -> ASGIApp:
    """Return the application with a `send` that also takes a whole answer as one message."""

    async def answered(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_whole(message: Message) -> None:
            body = message.pop(WHOLE_BODY, None)
            if body is None:
                await send(message)
            elif cycle.keep_alive and not (cycle.response_started or cycle.disconnected or cycle.flow.write_paused):
                _write_whole(cycle, transport, message, body)
            else:
                await send(message)
                await send({"type": "http.response.body", "body": body})

        scope["extensions"][WHOLE_BODY] = True
        await app(scope, receive, send_whole)

    return answered


def _write_whole(cycle: RequestResponseCycle, transport: asyncio.Transport, message: Message, body: bytes) -> None:
    """Write head and body, and end the cycle as uvicorn does. Raises `RuntimeError` for a field that is none."""
    lines = [b"%b: %b" % field for fields in (cycle.default_headers, message["headers"]) for field in fields]
    if FORBIDDEN.search(b"".join(lines)):
        raise RuntimeError("a header field has a control character")
    cycle.response_started = cycle.response_complete = True
    cycle.waiting_for_100_continue = False
    transport.write(b"\r\n".join([STATUS_LINE[message["status"]][:-2], *lines, b"", body]))
    cycle.message_event.set()
    cycle.on_response()
