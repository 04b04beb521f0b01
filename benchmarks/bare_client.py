"""HTTP on a bare socket, with the least work of a client: a request is built once and only its key changes; answers are
read into one reused buffer.
"""

import re
import socket
from typing import Self

import numpy as np

from optim_engine.arrays import Array

LONGEST_HEAD = 1 << 12
SENT_WITH_HEAD = 1 << 16
"""Bytes: a body up to this length is sent with its head; a longer one in its own call, without a copy."""
KEY_DIGITS = 12


class Request:
    """A request with its head and body as bytes."""

    def __init__(self, method: str, path: str, media_type: str, body: bytes | Array, *headers: str) -> None:
        self.path = path
        length = len(body)
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {media_type}"]
        self.head = bytearray("\r\n".join([*lines, f"Content-Length: {length}", *headers, "", ""]).encode())
        self.body = body
        if length <= SENT_WITH_HEAD:
            self.head += bytes(body)
            self.body = b""


class StepRequest(Request):
    """A step with an `Idempotency-Key`. `next` gives it a new key, which makes it a new step."""

    def __init__(self, path: str, media_type: str, body: bytes) -> None:
        key = f'Idempotency-Key: "{0:0{KEY_DIGITS}}"'
        super().__init__("POST", path, media_type, in_large_pages(body), key)
        self._key = self.head.index(key.encode()) + len(key) - KEY_DIGITS - 1
        self._number = 0

    def next(self) -> Self:
        self._number += 1
        self.head[self._key : self._key + KEY_DIGITS] = b"%0*d" % (KEY_DIGITS, self._number)
        return self


class BareClient:
    """A client with one connection. An answer is a view of a buffer of `longest` bytes, valid until the next one."""

    def __init__(self, port: int, longest: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = memoryview(np.empty(longest, np.uint8))
        self.head = b""
        """The head of the last answer."""

    def ask(self, request: Request) -> memoryview:
        """Send the request; return the body of the answer. Raise `RuntimeError` if it is no success."""
        self._socket.sendall(request.head)
        if len(request.body):
            self._socket.sendall(request.body)
        self.head = self._receive_head().lower()
        found = re.search(rb"\ncontent-length: (\d+)", self.head)
        body = self._buffer[: int(found[1]) if found else 0]
        have = 0
        while have < len(body):
            have += self._checked(self._socket.recv_into(body[have:]))
        if not self.head.startswith(b"http/1.1 2"):
            raise RuntimeError(f"{self.head.decode()}{bytes(body[:500]).decode()}")
        return body

    def send(self, method: str, path: str, media_type: str, body: bytes) -> memoryview:
        """Send a request that is not timed; return the body of the answer."""
        return self.ask(Request(method, path, media_type, body))

    def _receive_head(self) -> bytes:
        """Receive the head and nothing behind it, so that the body starts at the buffer's start."""
        while True:
            seen = self._socket.recv(LONGEST_HEAD, socket.MSG_PEEK)
            self._checked(len(seen))
            if (end := seen.find(b"\r\n\r\n")) >= 0:
                return self._socket.recv(end + 4)

    def _checked(self, count: int) -> int:
        if count == 0:
            raise ConnectionError("the connection was closed within an answer")
        return count

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def in_large_pages(data: bytes) -> Array:
    """Return a copy in memory for which NumPy requests large pages, which are faster to copy from."""
    copy = np.empty(len(data), np.uint8)
    copy[:] = np.frombuffer(data, np.uint8)
    return copy
