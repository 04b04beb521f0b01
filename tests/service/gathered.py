"""Calls that run at once: an asynchronous client of a service in this process."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2

from app.main import create_app
from app.settings import Settings
from app.store.memory import MemoryStore
from tests.service.calls import path_of


@asynccontextmanager
async def service(store: MemoryStore | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    app = create_app(Settings(store="memory:"), store)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost") as client,
    ):
        yield client


async def created(client: httpx2.AsyncClient, **settings: Any) -> str:
    answer = await client.post("/v1/sessions", json={"optimizer": "adamw", **settings})
    return path_of(answer)


def body(number: int | None, value: float) -> dict[str, Any]:
    return {"params": {"w": [1.0, 2.0]}, "grads": {"w": [value, 1.0]}} | ({} if number is None else {"step": number})
