"""A request's body as a route sees it: asked for, refused, late, or broken off."""

import asyncio
import json

import pytest
from starlette.types import Receive, Scope, Send

from app.main import create_app
from app.settings import Settings
from app.web.body import BULK_BYTES
from tests.web.echo import GONE, LARGE, digest, echo
from tests.web.sockets import Wire, listening, post, post_chunked


@pytest.mark.parametrize(
    "begin",
    [
        post("/v1/sessions/x/steps", bytes(100))[:-1],
        post("/v1/sessions/x/steps", LARGE)[: -len(LARGE) + 1000],
        post("/v1/sessions/x/steps", LARGE, expect="100-continue")[: -len(LARGE) + 1000],
        post_chunked("/v1/sessions/x/steps", [bytes(100)])[:-10],
    ],
    ids=["small", "large", "large, with 100-continue", "chunked"],
)
def test_an_incomplete_body_takes_no_place(begin: bytes) -> None:
    begin = begin.replace(b"host: localhost", b"host: localhost\r\ncontent-type: application/octet-stream")
    app = create_app(Settings(store="memory:", max_waiting_steps=1))
    with listening(app) as address, Wire(address) as slow, Wire(address) as other:
        other.send(post("/v1/sessions", b'{"optimizer": "sgd"}', content_type="application/json"))
        begin = begin.replace(b"sessions/x/", f"sessions/{json.loads(other.answer()[1])['id']}/".encode())
        slow.send(begin)
        if b"expect" in begin:
            assert slow.answer()[0] == 100
        other.send(post("/v1/sessions/x/steps", b"{}", content_type="application/json"))
        assert other.answer()[0] == 404


@pytest.mark.parametrize("cut", [0, 1, 40_000, len(LARGE) - 1])
def test_a_disconnect_in_the_middle_of_a_body_is_noticed(address: tuple[str, int], cut: int) -> None:
    GONE.clear()
    path = f"/leaves-at-{cut}"
    with Wire(address) as wire:
        wire.send(post(path, LARGE)[: -len(LARGE) + cut])
    with Wire(address) as wire:
        while path not in GONE:
            wire.send(post("/lane", b"again"))
            assert wire.answer() == (200, digest(b"again"))


def test_100_continue_is_sent_only_when_the_body_is_read(address: tuple[str, int]) -> None:
    with Wire(address) as wire:
        head = post("/lane", LARGE, expect="100-continue")[: -len(LARGE)]
        wire.send(head)
        assert wire.answer() == (100, b"")
        wire.send(LARGE)
        assert wire.answer() == (200, digest(LARGE))
        wire.send(head.replace(b"/lane", b"/unread"))
        assert wire.answer() == (200, b"unread")


def test_a_body_over_the_limit_is_refused_before_it_arrives() -> None:
    with listening(create_app(Settings(store="memory:", max_body_bytes=1 << 20))) as address, Wire(address) as wire:
        whole = post("/v1/sessions/x/steps", bytes(2 << 20), content_type="application/octet-stream")
        wire.send(whole[: -2 << 20])
        assert wire.answer()[0] == 413
        wire.send(whole[-2 << 20 :])
        wire.send(
            post("/v1/sessions", b'{"optimizer": "sgd", "hyperparameters": {"lr": 1}}', content_type="application/json")
        )
        assert wire.answer()[0] == 201


def test_a_body_that_arrives_early_is_read_as_usual() -> None:
    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(0.1)
        await echo(scope, receive, send)

    with listening(late) as address, Wire(address) as wire:
        wire.send(post("/lane", LARGE[: BULK_BYTES + 1]))
        assert wire.answer() == (200, digest(LARGE[: BULK_BYTES + 1]))
