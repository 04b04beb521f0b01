"""The bulk lane: the way of a large body around the parser, into one buffer and without a copy. Knows no socket.

uvicorn gives an application a body in pieces of 64 KB and copies each about five times: for 40 MB that takes several
times as long as the socket does.
"""

from collections.abc import Callable


class Lane:
    """The rest of one body: the buffer that it fills, or, once that is dropped, the bytes to throw away."""

    _buffer: memoryview | None = None
    """The part of the buffer that is still empty."""
    _count: Callable[[int], None]
    _unwanted = 0

    @property
    def is_open(self) -> bool:
        """Return true while the bytes that come are a body's, and not the parser's."""
        return self._buffer is not None or self._unwanted > 0

    def fill(self, buffer: memoryview, count: Callable[[int], None]) -> None:
        """Receive the rest of a body into `buffer`, and tell `count` of the bytes that come."""
        self._buffer, self._count = buffer, count

    def drop(self) -> None:
        """Let go of the buffer, and throw away the rest of the body."""
        if self._buffer is not None:
            self._unwanted, self._buffer = len(self._buffer), None

    def room(self, most: int) -> memoryview:
        """Return where to receive the next bytes; of unwanted ones at most `most` at once."""
        return self._buffer or memoryview(bytearray(min(self._unwanted, most)))

    def received(self, nbytes: int) -> bool:
        """Count bytes that were received, and return true if the body is whole."""
        if self._buffer is None:
            self._unwanted -= nbytes
        else:
            self._buffer = self._buffer[nbytes:]
            self._count(nbytes)
        if self._buffer or self._unwanted:
            return False
        self._buffer = None
        return True

    def close(self) -> None:
        """Let go of the buffer when the connection is lost."""
        self._buffer = None
