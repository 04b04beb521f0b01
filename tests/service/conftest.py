"""Fixtures: the service, a service with low limits, its log lines, and a session that has taken steps."""

from collections.abc import Iterator

import pytest
from httpx2 import Client

from tests.fused import fused_at_once
from tests.service.calls import create, serving
from tests.service.narrow import LIMITS
from tests.service.state_files import some_params, train
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
