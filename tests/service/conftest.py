"""Fixtures: the service, a service with low limits, its log lines, and a session that has taken steps."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from httpx2 import Client

from app.settings import Settings
from app.store import open_store
from app.store.base import Store
from tests.chaos.faulty_store import faulty_store
from tests.fused import fused_at_once
from tests.service.calls import create, serving
from tests.service.narrow import LIMITS
from tests.service.state_files import some_params, train
from tests.stores import STORES
from tests.web.logs import Logs, captured

__all__ = ["fused_at_once"]


@pytest.fixture
def client() -> Iterator[Client]:
    """The service on a memory store."""
    with serving() as client:
        yield client


@pytest.fixture
def trained(client: Client) -> str:
    """A session of three steps of adamw."""
    session = create(client)
    train(client, session, some_params(), range(1, 4), hold=False)
    return session


@pytest.fixture(scope="module")
def narrow() -> Iterator[Client]:
    """A service whose limits are soon reached."""
    with serving(**LIMITS) as client:
        yield client


@pytest.fixture
def logs() -> Iterator[Logs]:
    """Return every line that the service logs, as JSON."""
    with captured() as logs:
        yield logs


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def stores(redis_url: str, tmp_path: Path, runner: asyncio.Runner) -> Iterator[dict[str, Store]]:
    """Open each store; those that outlive a process have a place for a fault."""
    stack, opened = AsyncExitStack(), dict[str, Store]()
    for name, url_of in STORES.items():
        url = url_of(tmp_path, lambda: redis_url)
        store = open_store(Settings(store=url)) if name == "memory" else faulty_store(url)
        opened[name] = runner.run(stack.enter_async_context(store))
    yield opened
    runner.run(stack.aclose())
