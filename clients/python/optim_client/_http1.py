"""The bytes of HTTP/1.1: a request as buffers to send, an answer as it is read. Knows no socket and no clock.

Reading is a conversation, like `_protocol.perform`: it says where the next bytes belong, and is told how many came. So
a large body goes straight to where it stays.
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
"""Memory for a body of so many bytes."""


class BadAnswer(Exception):
    """What came is not an HTTP answer, or not all of it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """`reusable`: the connection may carry another request."""

    response: Response
    reusable: bool


def head(method: str, target: str, headers: Mapping[str, str]) -> bytes:
    """A request's first bytes. Values are this library's own, or were checked when the client was made."""
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("ascii")


def packed(buffers: Iterable[Buffer]) -> Iterator[Buffer]:
    """Small neighbours as one, because each one costs a call of the system and a packet; large ones as they are."""
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
    """Read one answer; interim ones are passed over. Says where the next bytes go, is told how many came (0: the end).

    Raises `BadAnswer`.
    """
    incoming = _Incoming()
    status = 100
    while 100 <= status < 200:
        status, keeps, headers = yield from _head(incoming)
        if status == 101:
            raise BadAnswer("it switches protocols, which nobody asked for")
    body, framed = yield from _body(incoming, status, headers, take)
    return Answer(Response(status, headers, body), keeps and framed and not incoming.bytes)


class _Incoming:
    """What came and was not read yet."""

    def __init__(self) -> None:
        self.bytes = bytearray()
        self._room = memoryview(bytearray(ROOM_BYTES))

    def more(self) -> Generator[memoryview, int, bool]:
        """Whether more came."""
        count = yield self._room
        self.bytes += self._room[:count]
        return count > 0

    def exactly(self, count: int) -> Generator[memoryview, int, bytearray]:
        while len(self.bytes) < count:
            yield from self._needed()
        taken = self.bytes[:count]
        del self.bytes[:count]
        return taken

    def until(self, mark: bytes) -> Generator[memoryview, int, bytearray]:
        """What stands before the mark, which is passed."""
        while (end := self.bytes.find(mark)) < 0:
            if len(self.bytes) > LONGEST_LINE_BYTES:
                raise BadAnswer(f"a line of it is longer than {LONGEST_LINE_BYTES} bytes")
            yield from self._needed()
        taken = yield from self.exactly(end)
        del self.bytes[: len(mark)]
        return taken

    def _needed(self) -> Generator[memoryview, int, None]:
        if not (yield from self.more()):
            raise BadAnswer("the connection was closed before the answer's end")


def _head(incoming: _Incoming) -> Generator[memoryview, int, tuple[int, bool, dict[str, str]]]:
    """Status, whether the connection stays open, and the headers, their names in lower case."""
    first = yield from incoming.until(b"\r\n")
    status_line = STATUS_LINE.fullmatch(first)
    if status_line is None:
        raise BadAnswer(f"it begins with {bytes(first[:80])!r}")
    headers: dict[str, str] = {}
    for _ in range(MOST_HEADERS):
        line = yield from incoming.until(b"\r\n")
        if not line:
            break
        raw, colon, said = line.partition(b":")
        if not colon or FIELD_NAME.fullmatch(raw) is None:
            raise BadAnswer(f"it has the header line {bytes(line[:80])!r}")
        name, value = raw.decode("ascii").lower(), said.strip(b" \t").decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    else:
        raise BadAnswer(f"it has more than {MOST_HEADERS} headers")
    keeps = status_line[1] == b"1" and "close" not in _list(headers.get("connection", ""))
    return int(status_line[2]), keeps, headers


def _body(
    incoming: _Incoming, status: int, headers: Mapping[str, str], take: Take
) -> Generator[memoryview, int, tuple[Buffer, bool]]:
    """The body, and whether its end was known from the bytes and not from the connection's."""
    if status in BODILESS_STATUSES:
        return b"", True
    if "transfer-encoding" in headers:
        if _list(headers["transfer-encoding"]) != ["chunked"]:
            raise BadAnswer(f"its transfer-encoding is {headers['transfer-encoding']!r}")
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
        raise BadAnswer(f"it announces {length} bytes, for which there is no memory") from error
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
            raise BadAnswer(f"a chunk begins with {bytes(line[:80])!r}")
        length = int(said[1], 16)
        if length == 0:
            break
        body += yield from incoming.exactly(length)
        if (yield from incoming.exactly(2)) != b"\r\n":
            raise BadAnswer(f"a chunk is longer than the {length} bytes that it announces")
    trailer = yield from incoming.until(b"\r\n")
    while trailer:  # nobody asks for what they say; an empty line ends them
        trailer = yield from incoming.until(b"\r\n")
    return memoryview(body)


def _length(said: str) -> int:
    """Several proxies may say the same."""
    lengths = set(_list(said))
    if len(lengths) != 1 or LENGTH.fullmatch(length := lengths.pop()) is None:
        raise BadAnswer(f"its content-length is {said!r}")
    return int(length)


def _list(value: str) -> list[str]:
    return [item.strip().lower() for item in value.split(",")]
