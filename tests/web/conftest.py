from collections.abc import Iterator

import pytest

from tests.service.conftest import client, logs
from tests.web.echo import echo
from tests.web.sockets import listening

__all__ = ["client", "logs"]


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def address(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """Return the address of a server that runs `echo`, on each event loop."""
    with listening(echo, request.param) as address:
        yield address
