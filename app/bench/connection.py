"""A connection that does the least: it sends bytes, and reads an answer without looking into it."""

import re
import socket
import ssl
from typing import Self
from urllib.parse import urlsplit

READ_BYTES = 1 << 20
TIMEOUT_SECONDS = 60.0
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Connection:
    """A connection to the service at an address: http, https or unix."""

    def __init__(self, address: str) -> None:
        self._socket = _connected(address)
        self._socket.settimeout(TIMEOUT_SECONDS)
        self._buffer = memoryview(bytearray(READ_BYTES))

    def ask(self, request: bytes) -> int:
        """Send a request; return the length of the answer's body. Raises `ConnectionError` if it is no success."""
        self._socket.sendall(request)
        head = b""
        while (end := head.find(b"\r\n\r\n")) < 0:
            head += self._read()
        found = LENGTH.search(head)
        length = int(found[1]) if found else 0
        missing = length - (len(head) - end - 4)
        if not head.startswith(b"HTTP/1.1 2"):
            raise ConnectionError(f"the service refused: {head[end + 4 :].decode(errors='replace')}")
        while missing > 0:
            missing -= len(self._read())
        return length

    def _read(self) -> memoryview:
        count = self._socket.recv_into(self._buffer)
        if not count:
            raise ConnectionError("the connection was closed within an answer")
        return self._buffer[:count]

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _connected(address: str) -> socket.socket:
    if address.startswith("unix://"):
        found = socket.socket(socket.AF_UNIX)
        found.connect(address.removeprefix("unix://"))
        return found
    parts = urlsplit(address)
    is_tls = parts.scheme == "https"
    found = socket.create_connection((parts.hostname or "", parts.port or (443 if is_tls else 80)), TIMEOUT_SECONDS)
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return ssl.create_default_context().wrap_socket(found, server_hostname=parts.hostname) if is_tls else found
