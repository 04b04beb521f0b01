"""The client on a bare socket: the bytes that it sends, and the answers that it reads."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import pytest

from benchmarks.bare_client import SENT_WITH_HEAD, BareClient, Request, StepRequest
from benchmarks.peers.service import JSON, Service
from tests.web.echo import digest, echo
from tests.web.sockets import listening

CREATION = b'{"optimizer": "sgd"}'


@contextmanager
def answering(*parts: bytes) -> Iterator[int]:
    """Yield the port of a server that answers one request with the parts, and then closes."""

    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            for part in parts:
                connection.sendall(part)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=answer)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


@pytest.mark.long
def test_a_refusal_raises_an_error(service: Service) -> None:
    with BareClient(service.port, 1 << 16) as client, pytest.raises(RuntimeError, match="session_not_found"):
        client.send("GET", "/v1/sessions/none", JSON, b"")


@pytest.mark.parametrize("size", [0, 1, SENT_WITH_HEAD, SENT_WITH_HEAD + 1, 1 << 20])
def test_a_body_of_any_length_arrives_whole(size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    with listening(echo) as (_, port), BareClient(port, 100) as client:
        for _ in range(2):
            assert bytes(client.send("POST", "/plain", JSON, body)) == digest(body)


def test_the_next_step_has_another_key_and_no_other_byte() -> None:
    request = StepRequest("/v1/sessions/0/steps", JSON, b"{}")
    heads = [bytes(request.next().head) for _ in range(11)]
    assert [head.partition(b'Idempotency-Key: "')[2][:12] for head in heads] == [b"%012d" % n for n in range(1, 12)]
    assert len({head.replace(b"%012d" % n, b"") for n, head in enumerate(heads, 1)}) == 1
    assert heads[0].endswith(b"\r\n\r\n{}")


@pytest.mark.long
def test_a_repeated_key_makes_no_second_session(service: Service) -> None:
    keyed = [Request("POST", "/v1/sessions", JSON, CREATION, f'Idempotency-Key: "{key}"') for key in ("a", "a", "b")]
    with BareClient(service.port, 1 << 16) as client:
        first, again, other = (bytes(client.ask(request)) for request in keyed)
    assert first == again != other


def test_an_answer_in_parts_is_read_to_its_end() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"
    with answering(head + b"ab", b"cd", b"ef") as port, BareClient(port, 6) as client:
        assert bytes(client.send("GET", "/", JSON, b"")) == b"abcdef"
        assert client.head == head.lower()


@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nabc"])
def test_an_answer_that_breaks_off_raises_an_error(part: bytes) -> None:
    with answering(part) as port, BareClient(port, 6) as client, pytest.raises(ConnectionError):
        client.send("GET", "/", JSON, b"")
