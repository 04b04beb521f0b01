"""The rules that all transports share, by the calls of a client."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from optim_client import AsyncClient

from tests.client.conftest import Connect
from tests.client.documents import SESSION
from tests.client.raw import RawServer
from tests.client.raw_service import get, named


@pytest.fixture(params=["lane", "httpx", "local"])
def client(request: pytest.FixtureRequest, connect: Connect) -> Iterator[Any]:
    with RawServer(named) as server:
        match request.param:
            case "lane":
                yield connect(server.url)
            case "httpx":
                own = httpx2.MockTransport(lambda _: httpx2.Response(200, json=SESSION))
                yield connect(server.url, transport=own)
            case "local":
                yield connect("memory:")


def test_a_closed_client_says_so(connect: Connect) -> None:
    with RawServer(named) as server:
        client = connect(server.url)
        get(client)
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            get(client)


def test_an_async_client_that_is_closed_says_so() -> None:
    client = AsyncClient("http://127.0.0.1:1")
    asyncio.run(client.close())
    with pytest.raises(RuntimeError, match="the client is closed"):
        asyncio.run(client.ready())


def test_every_transport_closes_twice_and_then_refuses(client: Any) -> None:
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="the client is closed"):
        get(client)


def test_a_client_and_its_copy_share_one_transport(client: Any) -> None:
    copy = client.with_options(timeout=1)
    copy.close()
    with pytest.raises(RuntimeError, match="the client is closed"):
        get(client)
