"""HTTP by a bare socket, the least that a client can do: a request is built once and only its key changes, answers are
read into one kept buffer.
"""

import re
import socket
from typing import Self

import numpy as np

from optim_engine.arrays import Array

LONGEST_HEAD = 1 << 12
SENT_WITH_HEAD = 1 << 16
"""Bytes: a body up to here goes out with its head in one call; a longer one from where it stands, with no copy."""
KEY_DIGITS = 12


class Request:
    """A head and a body, ready to be sent."""

    def __init__(self, method: str, path: str, media_type: str, body: bytes | Array, *headers: str) -> None:
        length = len(body)
        lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {media_type}"]
        self.head = bytearray("\r\n".join([*lines, f"Content-Length: {length}", *headers, "", ""]).encode())
        self.body = body
        if length <= SENT_WITH_HEAD:
            self.head += bytes(body)
            self.body = b""


class StepRequest(Request):
    """A step with an `Idempotency-Key`; each `next` has another key and is another step."""

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
    """One connection. An answer is a view of a buffer for `longest` bytes, valid until the next one."""

    def __init__(self, port: int, longest: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = memoryview(np.empty(longest, np.uint8))
        self.head = b""
        """Of the last answer."""

    def ask(self, request: Request) -> memoryview:
        """The body of the answer. Raises `RuntimeError` where that is no success."""
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
        """A request that is not timed."""
        return self.ask(Request(method, path, media_type, body))

    def _receive_head(self) -> bytes:
        """The head and nothing behind it, so that a body begins where the buffer does."""
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
    """A copy in memory that NumPy asks the system to keep in large pages, which are copied from faster."""
    copy = np.empty(len(data), np.uint8)
    copy[:] = np.frombuffer(data, np.uint8)
    return copy
