"""A proxy that injects one fault at a chosen byte: a delay, a cut, a reset or a black hole. It knows no protocol."""

import asyncio
import socket
import ssl
import struct
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Self, TypeAlias

Side: TypeAlias = Literal["request", "answer"]
Kind: TypeAlias = Literal["delay", "cut", "reset", "black hole"]


@dataclass(frozen=True)
class Fault:
    """A fault that happens once, before the byte number `after` of one side, counted since `strike`."""

    kind: Kind
    side: Side
    after: int
    seconds: float = 0.0
    """The length of a delay. Then the bytes are passed on, even if their sender has disconnected."""


class FaultProxy:
    """A proxy in front of the server at `port`. It runs in the event loop that enters it; `tls` makes it speak TLS."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self._target = port
        self._tls = tls
        self._fault: Fault | None = None
        self._links: dict[_Link, asyncio.Task[None]] = {}
        self.mute = False
        """Swallow all answers."""
        self.requests = bytearray()
        """The bytes from clients since the last `strike`."""
        self.passed = Counter[Side]()
        """The number of bytes of each side since then."""
        self.lost = 0
        """The requests that were sent on forgotten connections."""

    @property
    def port(self) -> int:
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def redis_url(self) -> str:
        return f"redis{'s' if self._tls else ''}://127.0.0.1:{self.port}/0"

    @property
    def has_struck(self) -> bool:
        return self._fault is None

    @property
    def links(self) -> int:
        """Return the number of connected clients."""
        return len(self._links)

    def strike(self, fault: Fault | None) -> None:
        """Set the next fault, and count from 0; `None` for no fault."""
        self._fault = fault
        self.requests.clear()
        self.passed.clear()

    def forget(self, *, reset: bool = False) -> None:
        """Forget all connections, as a router does: drop further bytes on them, or answer those with a reset."""
        for link in self._links:
            link.forget(reset)

    def move(self, port: int) -> None:
        """Send new connections to another server; existing ones stay with the old one."""
        self._target = port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for link in self._links:
            link.end(_reset)
        await asyncio.gather(*self._links.values())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        link = _Link(writer)
        self._links[link] = task
        try:
            with suppress(ConnectionError):
                upstream, link.server = await asyncio.open_connection("127.0.0.1", self._target)
                await asyncio.gather(
                    self._pump(reader, link, "request"), self._pump(upstream, link, "answer"), return_exceptions=True
                )
        finally:
            link.end(_close)
            del self._links[link]

    async def _pump(self, reader: asyncio.StreamReader, link: "_Link", side: Side) -> None:
        try:
            while data := await reader.read(1 << 16):
                if side == "request":
                    self.requests += data
                    self.lost += link.is_silent
                fault, through = self._passing(side, len(data))
                await link.write(side, data[:through], self.mute)
                if fault is not None:
                    await link.suffer(fault)
                    await link.write(side, data[through:], self.mute)
        finally:
            link.end(_close)

    def _passing(self, side: Side, nbytes: int) -> tuple[Fault | None, int]:
        """Count `nbytes` more; return the fault that is due within them, and the bytes before it."""
        before = self.passed[side]
        self.passed[side] += nbytes
        fault = self._fault
        if fault is None or fault.side != side or self.passed[side] <= fault.after:
            return None, nbytes
        self._fault = None
        return fault, fault.after - before


class _Link:
    """The two connections of a client: to the proxy, and on to the server."""

    def __init__(self, client: asyncio.StreamWriter) -> None:
        self.client = client
        self.server: asyncio.StreamWriter | None = None
        self.is_silent = False
        self._resets = False

    def forget(self, reset: bool) -> None:
        self.is_silent, self._resets = True, reset

    async def write(self, side: Side, data: bytes, mute: bool) -> None:
        if self._resets:
            self.end(_reset)
        writer = self.server if side == "request" else self.client
        if writer is not None and not self.is_silent and not (mute and side == "answer"):
            writer.write(data)
            await writer.drain()

    async def suffer(self, fault: Fault) -> None:
        match fault.kind:
            case "delay":
                await asyncio.sleep(fault.seconds)
            case "black hole":
                self.is_silent = True
            case "cut":
                self.is_silent = True
                self.end(_close)
            case "reset":
                self.is_silent = True
                self.end(_reset)

    def end(self, how: Callable[[asyncio.WriteTransport], None]) -> None:
        for writer in (self.client, self.server):
            if writer is not None:
                how(writer.transport)


def _close(transport: asyncio.WriteTransport) -> None:
    transport.close()


def _reset(transport: asyncio.WriteTransport) -> None:
    link = transport.get_extra_info("socket")
    with suppress(OSError):  # it is closed already
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
