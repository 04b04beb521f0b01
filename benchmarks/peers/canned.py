"""The least server: it counts the bytes that come and answers each request's worth of them with bytes made before.

It reads no HTTP, so that the load generator is what limits its answers. `python -m benchmarks.peers.canned BYTES` is
the other process, for requests of so many bytes; it prints its port.
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import uvloop

from benchmarks.peers.process import python


@contextmanager
def canned(request_bytes: int) -> Iterator[int]:
    """Start the server; yield its port."""
    with python("-m", "benchmarks.peers.canned", str(request_bytes)) as process:
        assert process.stdout
        yield int(process.stdout.readline())


class Canned(asyncio.Protocol):
    """A connection. Its answers are as long as its requests."""

    def __init__(self, request_bytes: int) -> None:
        self._request_bytes = request_bytes
        self._have = 0
        self._answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (request_bytes, bytes(request_bytes))

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._have += len(data)
        while self._have >= self._request_bytes:
            self._have -= self._request_bytes
            self._transport.write(self._answer)  # type: ignore[attr-defined]


async def main(request_bytes: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Canned(request_bytes), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))
