"""The bulk lane: a large body goes around the parser, into one buffer, also through TLS."""

import gc
import ssl

import pytest
import trustme
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.web.body import BODY_EXTENSION
from optim_engine.buffers import BUFFERS
from tests.web.echo import LARGE, digest, echo
from tests.web.sockets import Wire, listening, post


def test_a_large_body_bypasses_the_parser() -> None:
    seen, counted = [], list[int]()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            buffer = memoryview(bytearray(len(LARGE)))
            taken = scope["extensions"][BODY_EXTENSION].receive_into(buffer, counted.append)
            seen.append((taken, await receive(), bytes(buffer)))
            await Response()(scope, receive, send)

    with listening(app) as address, Wire(address) as wire:
        wire.send(post("/", LARGE)[:-1000])
        wire.send(LARGE[-1000:])
        assert wire.answer() == (200, b"")
    assert seen == [(True, {"type": "http.request", "body": b"", "more_body": False}, LARGE)]
    assert sum(counted) == len(LARGE)


def test_the_memory_of_a_body_is_reused(address: tuple[str, int]) -> None:
    with Wire(address) as wire:

        def exchange() -> None:
            for body in (LARGE, b"the answer to the large one has ended"):
                wire.send(post("/lane", body))
                wire.answer()

        exchange()
        gc.collect()
        idle = BUFFERS.idle_bytes
        for _ in range(5):
            exchange()
        assert BUFFERS.idle_bytes == idle


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
def test_the_lane_works_through_tls(loop: str) -> None:
    authority = trustme.CA()
    ours, theirs = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(ours)
    authority.configure_trust(theirs)
    with (
        listening(echo, loop, ours) as address,
        Wire(address, lambda plain: theirs.wrap_socket(plain, server_hostname="localhost")) as wire,
    ):
        for body in (LARGE, b"small", LARGE * 40):
            wire.send(post("/lane", body))
            assert wire.answer() == (200, digest(body))
