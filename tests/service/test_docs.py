"""The routes of the schema and of its page."""

from typing import Any

import httpx2
import pytest

from app.main import create_app
from app.routes.docs_page import render
from app.routes.html import policy
from app.settings import Settings


@pytest.fixture(scope="module")
def schema() -> Any:
    return create_app(Settings(store="memory:")).openapi()


async def test_the_server_sends_the_page_with_a_strict_policy(schema: Any) -> None:
    transport = httpx2.ASGITransport(create_app(Settings(store="memory:")))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        answer = await client.get("/docs")
        assert (await client.get("/openapi.json")).json() == schema
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-security-policy"] == policy()
    assert answer.text == render(schema)
    assert answer.text.startswith("<!doctype html>")
