"""The parser of answers, which reads the same from bytes in any pieces."""

import pytest
from optim_client._http1 import BadAnswer, head, packed, reading

from tests.client.raw import answer

PIECES = [1, 2, 3, 7, 1 << 14]

ANSWERS = {
    "counted": (answer(b"body"), 200, b"body", True),
    "empty": (answer(b""), 200, b"", True),
    "refusal": (answer(b"no", "503 Service Unavailable"), 503, b"no", True),
    "without a reason": (b"HTTP/1.1 200\r\ncontent-length: 1\r\n\r\nx", 200, b"x", True),
    "closing": (answer(b"body", "200 OK", "Connection: Close"), 200, b"body", False),
    "old": (b"HTTP/1.0 200 OK\r\nContent-Length: 4\r\n\r\nbody", 200, b"body", False),
    "interim": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" + answer(b"x"), 200, b"x", True),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "not modified": (b"HTTP/1.1 304 Not Modified\r\ncontent-length: 9\r\n\r\n", 304, b"", True),
    "said twice": (b"HTTP/1.1 200 OK\r\ncontent-length: 1, 1\r\n\r\nx", 200, b"x", True),
    "chunked": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbod\r\n0A;x=y\r\ny and more\r\n0\r\n\r\n",
        200, b"body and more", True,
    ),
    "chunked with a trailer": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 99\r\n\r\n1\r\nx\r\n0\r\nDigest: y\r\n\r\n",
        200, b"x", True,
    ),
    "until the end": (b"HTTP/1.1 200 OK\r\n\r\nbody", 200, b"body", False),
}  # fmt: skip

BAD = {
    "no HTTP": (b"SSH-2.0-OpenSSH_9\r\n", "malformed status line b'SSH-2.0"),
    "another HTTP": (b"HTTP/2.0 200 OK\r\n\r\n", "malformed status line"),
    "no status": (b"HTTP/1.1 OK\r\n\r\n", "malformed status line"),
    "no end of line": (b"x" * 70_000, "a line is longer than 65536 bytes"),
    "headers for ever": (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 300, "more than 256 headers"),
    "no header": (b"HTTP/1.1 200 OK\r\nnothing\r\n\r\n", "header line b'nothing'"),
    "a folded header": (b"HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n", "header line b' c'"),
    "a name with a space": (b"HTTP/1.1 200 OK\r\na : b\r\n\r\n", "header line b'a : b'"),
    "two lengths": (
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxy",
        "malformed content-length '1, 2'",
    ),
    "a length below none": (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "malformed content-length '-1'"),
    "a length of 5,000 digits": (
        b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n",
        "malformed content-length",
    ),
    "an exabyte": (b"HTTP/1.1 200 OK\r\ncontent-length: 999999999999999999\r\n\r\n", "no memory for the"),
    "compressed": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", "unknown transfer-encoding 'gzip"),
    "a chunk of no length": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n-1\r\n",
        "malformed chunk length b'-1'",
    ),
    "a chunk too long": (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nxyz", "longer than the 1 bytes"),
    "another protocol": (b"HTTP/1.1 101 Switching\r\n\r\n", "unexpected status 101"),
}


def read(raw: bytes, piece: int = 1 << 14) -> tuple[int, bytes, bool]:
    """Read an answer from bytes that arrive in pieces, before the connection ends."""
    conversation = reading(lambda nbytes: memoryview(bytearray(nbytes)))
    room, place = next(conversation), 0
    while True:
        came = raw[place : place + min(piece, len(room))]
        room[: len(came)] = came
        place += len(came)
        try:
            room = conversation.send(len(came))
        except StopIteration as end:
            response, reusable = end.value.response, end.value.reusable
            return response.status, bytes(response.body), reusable


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_is_read_however_it_is_cut(case: str, piece: int) -> None:
    raw, *expected = ANSWERS[case]
    assert read(raw, piece) == tuple(expected)


@pytest.mark.parametrize("case", [case for case in ANSWERS if case != "until the end"])
def test_half_an_answer_is_none_wherever_it_breaks_off(case: str) -> None:
    raw = ANSWERS[case][0]
    for length in range(len(raw)):
        with pytest.raises(BadAnswer, match="closed"):
            read(raw[:length])


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("case", BAD)
def test_a_malformed_answer_is_refused(case: str, piece: int) -> None:
    raw, message = BAD[case]
    with pytest.raises(BadAnswer, match=message):
        read(raw, piece)


def test_bytes_behind_the_answer_end_the_connection() -> None:
    assert read(answer(b"body") + b"HTTP") == (200, b"body", False)


def test_a_large_body_is_received_where_it_stays() -> None:
    memory = memoryview(bytearray(1 << 20))
    conversation = reading(lambda _: memory)
    room = next(conversation)
    start = b"HTTP/1.1 200 OK\r\ncontent-length: 1048576\r\n\r\nfirst"
    room[: len(start)] = start
    room = conversation.send(len(start))
    assert (room.obj, len(room)) == (memory.obj, len(memory) - len(b"first"))
    assert memory[:5] == b"first"


def test_repeated_headers_are_joined_under_lower_case_names() -> None:
    conversation = reading(lambda nbytes: memoryview(bytearray(nbytes)))
    room = next(conversation)
    raw = answer(b"", "200 OK", "X-Request-ID:\t r-1 ", "Via: a", "via: b", "Odd: \xfc")
    room[: len(raw)] = raw
    with pytest.raises(StopIteration) as end:
        conversation.send(len(raw))
    headers = end.value.value.response.headers
    assert headers == {"content-length": "0", "x-request-id": "r-1", "via": "a, b", "odd": "Ã¼"}


def test_a_head_is_lines() -> None:
    assert head("PUT", "/a?b=c", {"host": "h", "x": "y"}) == b"PUT /a?b=c HTTP/1.1\r\nhost: h\r\nx: y\r\n\r\n"


def test_small_buffers_are_joined_and_large_ones_are_not_copied() -> None:
    large = memoryview(bytearray(1 << 20))
    small = [b"x" * 1000] * 100
    out = list(packed([b"head", *small, large, large, b"", b"y"]))
    assert b"".join(out) == b"".join([b"head", *small, large, large, b"y"])
    assert [len(piece) for piece in out] == [32_004, 32_000, 32_000, 4000, 1 << 20, 1 << 20, 1]
    assert out[4] is out[5] is large
