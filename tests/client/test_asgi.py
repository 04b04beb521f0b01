"""Answers without an end from an application in this process."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from optim_client._asgi import StreamingTransport


class Counting:
    """An application that counts until it is left, one number a part."""

    def __init__(self) -> None:
        self.sent = 0
        self.left = asyncio.Event()

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Callable[[Any], Any]) -> None:
        assert await receive() == {"type": "http.request", "body": b"", "more_body": False}
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-path", scope["path"].encode())]})
        try:
            while True:
                self.sent += 1
                await send({"type": "http.response.body", "body": b"%d" % self.sent, "more_body": True})
        finally:
            self.left.set()


async def test_each_part_comes_when_the_last_is_taken() -> None:
    app = Counting()
    async with (
        httpx2.AsyncClient(transport=StreamingTransport(app), base_url="http://app") as client,
        client.stream("GET", "/a") as answer,
    ):
        assert (answer.status_code, answer.headers["x-path"]) == (200, "/a")
        parts = answer.aiter_raw()
        assert [await anext(parts) for _ in range(3)] == [b"1", b"2", b"3"]
        await asyncio.sleep(0.01)
        assert app.sent == 3
    await asyncio.wait_for(app.left.wait(), 10)


async def test_leaving_ends_a_wait_for_the_next_part() -> None:
    async def silent(scope: Any, receive: Any, send: Callable[[Any], Any]) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.Event().wait()

    async with httpx2.AsyncClient(transport=StreamingTransport(silent), base_url="http://app") as client:
        answer = await client.send(client.build_request("GET", "/"), stream=True)
        waiting = asyncio.create_task(anext(answer.aiter_raw(), None))
        await asyncio.sleep(0.01)
        await answer.aclose()
        assert await asyncio.wait_for(waiting, 10) is None


async def test_an_application_without_an_answer_is_an_error() -> None:
    async def mute(*_: Any) -> None:
        """Answer nothing."""

    async with httpx2.AsyncClient(transport=StreamingTransport(mute), base_url="http://app") as client:
        with pytest.raises(httpx2.RemoteProtocolError, match="the application ended without an answer"):
            await client.get("/")
