from collections.abc import Iterator

import pytest
from optim_client import Client

from app.demo.server import Server


@pytest.fixture(scope="session")
def client() -> Iterator[Client]:
    with Client("memory:") as client:
        yield client


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    with Server() as server:
        yield server.url
