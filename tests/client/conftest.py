import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from optim_client import AsyncClient, Client, _protocol

from app.demo.server import Server
from optim_engine import Config, State, step
from tests.client.blocking import Blocking
from tests.client.training import bits, grads_for, some_params

Connect = Callable[..., Any]


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPTIM_BASE_URL", "OPTIM_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_protocol, "FIRST_WAIT_SECONDS", 0.01)


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Connect]:
    """Return a function that makes clients of one kind, and closes them at the end; it waits for the async one."""
    with ExitStack() as stack:
        runner = stack.enter_context(asyncio.Runner())

        def connect(*args: Any, **kwargs: Any) -> Any:
            client = (
                Client(*args, **kwargs) if request.param == "sync" else Blocking(AsyncClient(*args, **kwargs), runner)
            )
            stack.callback(client.close)
            return client

        yield connect


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(params=["near", "far"])
def client(request: pytest.FixtureRequest, connect: Connect, server: Server) -> Any:
    return connect("memory:" if request.param == "near" else server.url)


@pytest.fixture(scope="session")
def unbroken() -> dict[str, Any]:
    """Return the parameters after ten steps of the engine alone, where nothing goes wrong."""
    config = Config.parse("adamw", hyperparameters={"lr": 0.01})
    state, params = State.empty(), some_params()
    for number in range(1, 11):
        outcome = step(config, state, params, grads_for(params, number))
        state, params = outcome.state, outcome.params
    return bits(params)
