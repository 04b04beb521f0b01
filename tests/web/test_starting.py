"""The start of requests: when the body is whole, in the parser's turn or in a task."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from hypothesis import given
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from app.web.at_once import AT_ONCE
from tests.examples import examples
from tests.web.echo import LARGE, digest, echo
from tests.web.sockets import Wire, listening, post, wait_until
from tests.web.test_protocol import conversations


class Short:
    """Takes every request but those for `/lane`, and lets those for `/plain` start in the parser's turn."""

    def may_take(self, scope: Scope) -> bool:
        return scope["path"] != "/lane"

    def is_free(self, scope: Scope) -> bool:
        if scope["path"] == "/lane":
            raise ValueError("not taken")
        return scope["path"] == "/plain"


STARTED: list[tuple[str, bool]] = []
"""The paths of the requests, and whether each started in a task."""


async def offering(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer as `echo` does, and offer to do so at once."""
    if scope["type"] == "lifespan":
        scope["state"][AT_ONCE] = Short()
        while (message := await receive())["type"] != "lifespan.shutdown":
            await send({"type": f"{message['type']}.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    STARTED.append((scope["path"], asyncio.current_task() is not None))
    if scope["path"] == "/late":
        await asyncio.sleep(0.01)
        await Response(digest(await Request(scope, receive).body()))(scope, receive, send)
    else:
        await echo(scope, receive, send)


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def address(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    with listening(offering, request.param) as address:
        yield address


@given(conversations())
@examples(quick=15, whole=500)
def test_pipelined_requests_are_answered_in_order_with_and_without_tasks(
    address: tuple[str, int], conversation: tuple[list[tuple[bytes, bytes]], list[int]]
) -> None:
    asked, cuts = conversation
    data = b"".join(whole for whole, _ in asked)
    with Wire(address) as wire:
        for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True):
            wire.send(data[begin:end])
        assert [wire.answer() for _ in asked] == [(200, answer) for _, answer in asked]


def test_a_request_starts_when_its_body_is_whole(address: tuple[str, int]) -> None:
    STARTED.clear()
    whole = post("/plain", b"body")
    with Wire(address) as wire:
        wire.send(whole[:-2])
        wire.send(b"dy")
        assert wire.answer() == (200, digest(b"body"))
        wire.send(post("/late", b"body"))
        assert wire.answer() == (200, digest(b"body"))
        wire.send(post("/plain", b"last", connection="close"))
        assert wire.answer() == (200, digest(b"last"))
        assert wire.is_closed()
    assert STARTED == [("/plain", False), ("/late", True), ("/plain", True)]


def test_a_client_that_leaves_early_is_seen_by_the_application(address: tuple[str, int]) -> None:
    STARTED.clear()
    with Wire(address) as wire:
        wire.send(post("/unread", LARGE[:100])[:-50])
    wait_until(lambda: STARTED == [("/unread", True)], lambda: STARTED)


def test_a_body_that_is_asked_for_is_not_waited_for(address: tuple[str, int]) -> None:
    with Wire(address) as wire:
        whole = post("/plain", b"body", expect="100-continue")
        wire.send(whole[:-4])
        assert wire.answer()[0] == 100
        wire.send(b"body")
        assert wire.answer() == (200, digest(b"body"))


def test_only_requests_that_were_taken_start_at_once(address: tuple[str, int]) -> None:
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(address)) for _ in range(40)]
        for wire in wires:
            wire.send(post("/lane", b"body"))
        assert [wire.answer() for wire in wires] == [(200, digest(b"body"))] * len(wires)
