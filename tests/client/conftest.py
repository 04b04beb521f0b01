import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from optim_client import AsyncClient, Client

from tests.client.blocking import Blocking

Connect = Callable[..., Any]


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPTIM_BASE_URL", "OPTIM_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Makes clients of either kind, which are closed at the end; the async one is waited for."""
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())

        def connect(*args: Any, **kwargs: Any) -> Any:
            client = (
                Client(*args, **kwargs) if request.param == "sync" else Blocking(AsyncClient(*args, **kwargs), runner)
            )
            stack.callback(client.close)
            return client

        yield connect
