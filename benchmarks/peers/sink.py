"""The sink, the least work of an upload: a bare socket that reads a request's bytes into one kept buffer and says so.

It reads no HTTP. `python -m benchmarks.peers.sink BYTES` is the other process, for requests of so many bytes; it prints
its port.
"""

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from benchmarks.bare_client import BareClient, Request, in_large_pages
from benchmarks.peers.process import python
from benchmarks.peers.service import ROOM, SAFETENSORS, body_of
from benchmarks.peers.session import Session, Step
from optim_engine.arrays import Array

ANSWER = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"


def uploads(count: int) -> Session:
    """Return sessions whose step sends the body of a step so many times, one after the other."""

    @contextmanager
    def session(_: Array, grads: Array) -> Iterator[Step]:
        request = Request("PUT", "/sink", SAFETENSORS, in_large_pages(body_of(grads)))
        with sink(len(request.head) + len(request.body)) as port, BareClient(port, ROOM) as bare:
            yield Step(lambda: [bare.ask(request) for _ in range(count)])

    return session


@contextmanager
def sink(request_bytes: int) -> Iterator[int]:
    """Start the sink; yield its port."""
    with python("-m", "benchmarks.peers.sink", str(request_bytes)) as process:
        assert process.stdout
        yield int(process.stdout.readline())


def serve(connection: socket.socket, request_bytes: int) -> None:
    """Read and answer requests until the client disconnects."""
    buffer = memoryview(np.empty(request_bytes, np.uint8))
    have = 0
    while count := connection.recv_into(buffer[have:]):
        have += count
        if have == request_bytes:
            have = 0
            connection.sendall(ANSWER)


def main(request_bytes: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve, args=(connection, request_bytes), daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]))
