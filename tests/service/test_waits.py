"""Requests that wait: given up with their client."""

import asyncio

import httpx2
import pytest
from fastapi import Request
from starlette.requests import ClientDisconnect

from app.main import create_app
from app.routes.waits import while_connected
from app.settings import Settings
from tests.service.crew import GRADS, PARAMS
from tests.service.gathered import created


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


async def test_a_push_that_waits_holds_no_place_of_admission() -> None:
    app = create_app(Settings(store="memory:", max_waiting_steps=1))
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost") as client,
    ):
        session = await created(client, hold_params=True, workers={"expected": 2})
        await client.put(f"{session}/params", json={"params": PARAMS})
        pushes = []
        for epoch, name in enumerate("ab", start=1):
            await client.put(f"{session}/workers/{name}", json={})
            path, body = f"{session}/rounds/1/contributions/{name}", {"epoch": epoch, "grads": GRADS}
            pushes.append(client.put(path, json=body, headers={"prefer": "wait=30"}))
        answers = await asyncio.gather(*pushes)
        assert [answer.status_code for answer in answers] == [200, 200]


async def _fails() -> None:
    raise ValueError("wrong")
