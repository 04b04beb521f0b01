"""HTTP by a bare socket, the least that a client can do: a request is built once and sent whole, of its bytes only the
key changes; answers are read into one kept buffer.
"""

import re
import socket
from typing import Self

LONGEST_HEAD = 1 << 12
KEY_DIGITS = 12


class StepRequest:
    """The bytes of a step with an `Idempotency-Key`; each `next` has another key and is another step."""

    def __init__(self, path: str, media_type: str, body: bytes) -> None:
        key = f'Idempotency-Key: "{0:0{KEY_DIGITS}}"'
        self.message = bytearray(_head("POST", path, media_type, len(body), key) + body)
        self._key = self.message.index(key.encode()) + len(key) - KEY_DIGITS - 1
        self._number = 0

    def next(self) -> bytearray:
        self._number += 1
        self.message[self._key : self._key + KEY_DIGITS] = b"%0*d" % (KEY_DIGITS, self._number)
        return self.message


class BareClient:
    """One connection. An answer is a view of a buffer for `longest` bytes, valid until the next one."""

    def __init__(self, port: int, longest: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._buffer = memoryview(bytearray(LONGEST_HEAD + longest))
        self.head = b""
        """Of the last answer."""

    def ask(self, message: bytes | bytearray) -> memoryview:
        """The body of the answer. Raises `RuntimeError` where that is no success."""
        self._socket.sendall(message)
        have = self._read(0)
        while (end := self._end_of_head(have)) < 0:
            have = self._read(have)
        self.head = bytes(self._buffer[:end]).lower()
        found = re.search(rb"\ncontent-length: (\d+)", self.head)
        total = end + (int(found[1]) if found else 0)
        while have < total:
            have = self._read(have)
        body = self._buffer[end:total]
        if not self.head.startswith(b"http/1.1 2"):
            raise RuntimeError(f"{self.head.decode()}{bytes(body[:500]).decode()}")
        return body

    def send(self, method: str, path: str, media_type: str, body: bytes) -> memoryview:
        """A request that is not timed."""
        return self.ask(_head(method, path, media_type, len(body)) + body)

    def _read(self, have: int) -> int:
        count = self._socket.recv_into(self._buffer[have:])
        if count == 0:
            raise ConnectionError(f"the connection was closed after {have:,} bytes of an answer")
        return have + count

    def _end_of_head(self, have: int) -> int:
        end = bytes(self._buffer[: min(have, LONGEST_HEAD)]).find(b"\r\n\r\n")
        return end + 4 if end >= 0 else -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def _head(method: str, path: str, media_type: str, length: int, *more: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Content-Type: {media_type}", f"Content-Length: {length}"]
    return "\r\n".join([*lines, *more, "", ""]).encode()
