"""A load generator: connections that each have one request under way, driven by one thread that reads only lengths."""

import re
import select
import socket
import time
from collections.abc import Sequence
from itertools import cycle
from typing import Self

from benchmarks.bare_client import StepRequest

LONGEST_ANSWER = 1 << 16
SILENCE_SECONDS = 60.0
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Load:
    """A connection for each request, which is sent again and again, each time with a new key. The ports take turns."""

    def __init__(self, ports: Sequence[int], requests: Sequence[StepRequest]) -> None:
        connections = [Connection(port, request) for port, request in zip(cycle(ports), requests, strict=False)]
        self._connections = {connection.number: connection for connection in connections}
        self._poll = select.epoll()
        for number in self._connections:
            self._poll.register(number, select.EPOLLIN)

    @property
    def answers(self) -> list[int]:
        """Return the number of answers of each connection so far."""
        return [connection.answers for connection in self._connections.values()]

    def run(self, seconds: float) -> float:
        """Send requests for so long, then wait for the last answers; return the answers a second."""
        started = now = time.perf_counter()
        before = sum(self.answers)
        for connection in self._connections.values():
            connection.send()
        while now - started < seconds:
            for connection in self._answered():
                connection.send()
            now = time.perf_counter()
        rate = (sum(self.answers) - before) / (now - started)
        waiting = set(self._connections.values())
        while waiting:
            waiting.difference_update(self._answered())
        return rate

    def _answered(self) -> "list[Connection]":
        """Wait for bytes; return the connections whose answers are whole."""
        ready = self._poll.poll(SILENCE_SECONDS)
        if not ready:
            raise TimeoutError(f"no answer in {SILENCE_SECONDS:.0f} s")
        connections = [self._connections[number] for number, _ in ready]
        return [connection for connection in connections if connection.receive()]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._poll.close()
        for connection in self._connections.values():
            connection.close()


class Connection:
    """One connection, with its request."""

    def __init__(self, port: int, request: StepRequest) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._request = request
        self._left = 0
        self.number = self._socket.fileno()
        self.answers = 0

    def send(self) -> None:
        """Send the request, which must fit into the socket's buffer."""
        request = self._request.next()
        if len(request.body) or self._socket.send(request.head) != len(request.head):
            raise RuntimeError("the request is too long to be sent at once")

    def receive(self) -> bool:
        """Receive what is there; return True if the answer is whole. Raise `RuntimeError` if it is no success."""
        data = self._socket.recv(LONGEST_ANSWER)
        if not data:
            raise ConnectionError("the connection was closed within an answer")
        if self._left:
            self._left -= len(data)
        else:
            head, _, body = data.partition(b"\r\n\r\n")
            found = LENGTH.search(head)
            if not found or not head.startswith(b"HTTP/1.1 2"):
                raise RuntimeError(data.decode(errors="replace"))
            self._left = int(found[1]) - len(body)
        self.answers += not self._left
        return not self._left

    def close(self) -> None:
        self._socket.close()
