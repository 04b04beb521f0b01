"""Requests that wait: given up with their client."""

import asyncio

import pytest
from fastapi import Request
from starlette.requests import ClientDisconnect

from app.routes.waits import while_connected


def request(*messages: str) -> Request:
    left = list(messages)

    async def receive() -> dict[str, str]:
        if left:
            return {"type": left.pop(0)}
        await asyncio.Event().wait()
        raise AssertionError

    return Request({"type": "http"}, receive)


async def test_a_wait_ends_with_its_client() -> None:
    cancelled = asyncio.Event()

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    with pytest.raises(ClientDisconnect):
        await while_connected(request("http.request", "http.disconnect"), forever())
    assert cancelled.is_set()


async def test_a_client_that_stays_gets_the_result() -> None:
    assert await while_connected(request(), asyncio.sleep(0, "result")) == "result"
    with pytest.raises(ValueError, match="wrong"):
        await while_connected(request(), _fails())


async def _fails() -> None:
    raise ValueError("wrong")
