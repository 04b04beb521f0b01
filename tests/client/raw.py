"""A server of bare sockets: a function of the test gets each connection, and can do what no HTTP server does."""

import re
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Self

Handler = Callable[[socket.socket], None]


class RawServer:
    """A server that gives its n-th connection to the n-th handler, in a thread, and closes it when that returns."""

    def __init__(self, *handlers: Handler, tls: ssl.SSLContext | None = None) -> None:
        self._handlers = handlers
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._links: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept)
        self.closed = [threading.Event() for _ in handlers]
        """Set once that connection is closed on this side."""
        scheme = "http" if tls is None else "https"
        self.port = self._listener.getsockname()[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        return len(self._threads)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        for link in self._links:
            with suppress(OSError):
                link.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()

    def _accept(self) -> None:
        for handler, closed in zip(self._handlers, self.closed, strict=True):
            try:
                link, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._handle, args=(handler, link, closed))
            self._threads.append(thread)
            thread.start()

    def _handle(self, handler: Handler, link: socket.socket, closed: threading.Event) -> None:
        with link, suppress(OSError):  # the client went away, or did not trust the certificate
            stream = link if self._tls is None else self._tls.wrap_socket(link, server_side=True)
            with stream:
                self._links.append(stream)
                stream.settimeout(10)
                handler(stream)
        closed.set()


def read_head(link: socket.socket) -> bytes:
    """Read a request's head, byte by byte, so that nothing of the body is taken."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        if not (byte := link.recv(1)):
            raise ConnectionResetError("no request")
        head += byte
    return head


def read_request(link: socket.socket) -> bytes:
    """Read a whole request; return its head."""
    head = read_head(link)
    length = re.search(rb"content-length: (\d+)", head)
    left = int(length[1]) if length else 0
    while left:
        left -= len(link.recv(min(left, 1 << 20)))
    return head


def answers(*raw: bytes) -> Handler:
    """Return a handler that gives one answer to each request."""

    def handle(link: socket.socket) -> None:
        for answer in raw:
            read_request(link)
            link.sendall(answer)

    return handle


def until_closed(link: socket.socket) -> int:
    """Return the number of bytes that the client sends until it closes."""
    count = 0
    with suppress(ConnectionResetError):
        while data := link.recv(1 << 20):
            count += len(data)
    return count


def answer(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body
