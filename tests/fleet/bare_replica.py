"""A server on a socket, for what no real replica does on command: it answers late, halfway or not at all."""

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread

LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)
READY = {"GET /readyz", "GET /livez"}
OK = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"

Answer = Callable[["Arrival"], None]


class Arrival:
    """A request whose head has come, on its connection."""

    def __init__(self, client: socket.socket, head: bytes, start: bytes) -> None:
        self.client = client
        self.line = b" ".join(head.split(b" ", 2)[:2]).decode()
        length = LENGTH.search(head)
        self.left = (int(length[1]) if length else 0) - len(start)

    def read(self, nbytes: int) -> None:
        """Read so many bytes more of the body."""
        while nbytes > 0:
            got = len(self.client.recv(1 << 16))
            assert got, "the balancer sends no more"
            nbytes -= got
            self.left -= got

    def answer(self, data: bytes = OK) -> None:
        self.client.sendall(data)


class BareReplica:
    """A replica that is always ready, and gives each other request to `answer`. It keeps no connection."""

    def __init__(self, answer: Answer) -> None:
        self.seen: list[str] = []
        """The method and path of each request."""
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def run(self) -> None:
        """Take connections until the listener is shut down."""
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                Thread(target=self._serve, args=(client,), daemon=True).start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _serve(self, client: socket.socket) -> None:
        with client, suppress(ConnectionError):
            received = b""
            while b"\r\n\r\n" not in received:
                data = client.recv(1 << 12)
                if not data:
                    return
                received += data
            head, _, start = received.partition(b"\r\n\r\n")
            arrival = Arrival(client, head, start)
            if arrival.line in READY:
                arrival.answer()
                return
            self.seen.append(arrival.line)
            self._answer(arrival)


@contextmanager
def bare_replica(answer: Answer) -> Iterator[BareReplica]:
    """Run one for a block."""
    replica = BareReplica(answer)
    Thread(target=replica.run, daemon=True).start()
    try:
        yield replica
    finally:
        replica.stop()
