"""HTTP/1.1 as bytes: requests as buffers to send, and a parser of answers. Knows no socket and no clock.

Reading is a conversation, like `_protocol.perform`: it yields where the next bytes go, and is sent how many came. A
large body is received in place.
"""

import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass

from optim_client._protocol import Buffer, Response

ROOM_BYTES = 1 << 14
LONGEST_LINE_BYTES = 1 << 16
MOST_HEADERS = 256
JOINED_BYTES = 1 << 15

BODILESS_STATUSES = frozenset({204, 304})

STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: [^\r\n\0]*)?")
FIELD_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
LENGTH = re.compile(r"\d{1,18}", re.ASCII)
CHUNK_LENGTH = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")

Reading = Generator[memoryview, int, "Answer"]
Take = Callable[[int], memoryview]
"""A function that returns memory for a body of that many bytes."""


class BadAnswer(Exception):
    """The answer is malformed or incomplete."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer; where it is `reusable` the connection may carry another request."""

    response: Response
    reusable: bool


def head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """Return a request's head. Its values are this library's own, or were checked when the client was made."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("ascii")


def packed(buffers: Iterable[Buffer]) -> Iterator[Buffer]:
    """Join small neighbours, because each buffer costs a system call and a packet; yield large ones as they are."""
    small: list[Buffer] = []
    size = 0
    for buffer in buffers:
        if size + len(buffer) > JOINED_BYTES:
            if small:
                yield b"".join(small)
            small, size = [], 0
        if len(buffer) > JOINED_BYTES:
            yield buffer
        else:
            small.append(buffer)
            size += len(buffer)
    if small:
        yield b"".join(small)


def reading(take: Take) -> Reading:
    """Read one answer, after any interim ones. Yields where the next bytes go, and is sent how many came (0: the end).

    Raises `BadAnswer`.
    """
    incoming = _Incoming()
    status = 100
    while 100 <= status < 200:
        status, keeps, headers = yield from _head(incoming)
        if status == 101:
            raise BadAnswer("unexpected status 101 (switching protocols)")
    body, framed = yield from _body(incoming, status, headers, take)
    return Answer(Response(status, headers, body), keeps and framed and not incoming.bytes)


class _Incoming:
    """The bytes that came and were not read yet."""

    def __init__(self) -> None:
        self.bytes = bytearray()
        self._room = memoryview(bytearray(ROOM_BYTES))

    def more(self) -> Generator[memoryview, int, bool]:
        """Receive more; return whether anything came."""
        count = yield self._room
        self.bytes += self._room[:count]
        return count > 0

    def exactly(self, count: int) -> Generator[memoryview, int, bytearray]:
        """Return the next `count` bytes."""
        while len(self.bytes) < count:
            yield from self._needed()
        taken = self.bytes[:count]
        del self.bytes[:count]
        return taken

    def until(self, mark: bytes) -> Generator[memoryview, int, bytearray]:
        """Return the bytes before the mark, and skip it."""
        while (end := self.bytes.find(mark)) < 0:
            if len(self.bytes) > LONGEST_LINE_BYTES:
                raise BadAnswer(f"a line is longer than {LONGEST_LINE_BYTES} bytes")
            yield from self._needed()
        taken = yield from self.exactly(end)
        del self.bytes[: len(mark)]
        return taken

    def _needed(self) -> Generator[memoryview, int, None]:
        if not (yield from self.more()):
            raise BadAnswer("the connection was closed before the answer's end")


def _head(incoming: _Incoming) -> Generator[memoryview, int, tuple[int, bool, dict[str, str]]]:
    """Return the status, whether the connection stays open, and the headers, their names in lower case."""
    first = yield from incoming.until(b"\r\n")
    status_line = STATUS_LINE.fullmatch(first)
    if status_line is None:
        raise BadAnswer(f"malformed status line {bytes(first[:80])!r}")
    headers: dict[str, str] = {}
    for _ in range(MOST_HEADERS):
        line = yield from incoming.until(b"\r\n")
        if not line:
            break
        raw, colon, said = line.partition(b":")
        if not colon or FIELD_NAME.fullmatch(raw) is None:
            raise BadAnswer(f"malformed header line {bytes(line[:80])!r}")
        name, value = raw.decode("ascii").lower(), said.strip(b" \t").decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    else:
        raise BadAnswer(f"more than {MOST_HEADERS} headers")
    keeps = status_line[1] == b"1" and "close" not in _list(headers.get("connection", ""))
    return int(status_line[2]), keeps, headers


def _body(
    incoming: _Incoming, status: int, headers: Mapping[str, str], take: Take
) -> Generator[memoryview, int, tuple[Buffer, bool]]:
    """Return the body, and whether it had a length of its own; without one, the connection's end is the body's."""
    if status in BODILESS_STATUSES:
        return b"", True
    if "transfer-encoding" in headers:
        if _list(headers["transfer-encoding"]) != ["chunked"]:
            raise BadAnswer(f"unknown transfer-encoding {headers['transfer-encoding']!r}; expected chunked")
        return (yield from _chunked(incoming)), True
    if "content-length" in headers:
        return (yield from _counted(incoming, _length(headers["content-length"]), take)), True
    while (yield from incoming.more()):
        pass
    body, incoming.bytes = incoming.bytes, bytearray()
    return memoryview(body), False


def _counted(incoming: _Incoming, length: int, take: Take) -> Generator[memoryview, int, memoryview]:
    try:
        body = take(length)
    except MemoryError as error:
        raise BadAnswer(f"no memory for the {length} bytes that it announces") from error
    have = min(length, len(incoming.bytes))
    body[:have] = yield from incoming.exactly(have)
    while have < length:
        count = yield body[have:]
        if count == 0:
            raise BadAnswer(f"the connection was closed after {have} of the body's {length} bytes")
        have += count
    return body


def _chunked(incoming: _Incoming) -> Generator[memoryview, int, memoryview]:
    body = bytearray()
    while True:
        line = yield from incoming.until(b"\r\n")
        said = CHUNK_LENGTH.fullmatch(line)
        if said is None:
            raise BadAnswer(f"malformed chunk length {bytes(line[:80])!r}")
        length = int(said[1], 16)
        if length == 0:
            break
        body += yield from incoming.exactly(length)
        if (yield from incoming.exactly(2)) != b"\r\n":
            raise BadAnswer(f"a chunk is longer than the {length} bytes that it announces")
    trailer = yield from incoming.until(b"\r\n")
    while trailer:  # trailers are skipped; an empty line ends them
        trailer = yield from incoming.until(b"\r\n")
    return memoryview(body)


def _length(said: str) -> int:
    """Return the content length, which several proxies may repeat."""
    lengths = set(_list(said))
    if len(lengths) != 1 or LENGTH.fullmatch(length := lengths.pop()) is None:
        raise BadAnswer(f"malformed content-length {said!r}")
    return int(length)


def _list(value: str) -> list[str]:
    return [item.strip().lower() for item in value.split(",")]
