from collections.abc import Iterator

import pytest
from httpx2 import Client

from tests.service.calls import serving


@pytest.fixture
def client() -> Iterator[Client]:
    """The service on a memory store."""
    with serving() as client:
        yield client
