"""A running service for the tests of the commands."""

from collections.abc import Iterator

import pytest

from app.demo.server import Server


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Server() as server:
        yield server.url
