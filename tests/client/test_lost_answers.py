"""Writes whose answers are lost, and a service that restarts: everything happens once."""

from typing import Any

import httpx2
import numpy as np
import pytest
from optim_client import APIConnectionError, SessionNotFound

from app.demo.server import Server
from tests.client.conftest import Connect
from tests.client.training import bits, some_params, train


class LosesAnswers(httpx2.BaseTransport, httpx2.AsyncBaseTransport):
    """A transport that loses every second answer to `path` on the way back. Every request reaches the service."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.lost = 0
        self._lose = False
        self._sync = httpx2.HTTPTransport()
        self._async = httpx2.AsyncHTTPTransport()

    def _maybe_lose(self, request: httpx2.Request) -> None:
        self._lose = not self._lose and request.url.path.endswith(self.path)
        if self._lose:
            self.lost += 1
            raise httpx2.ReadError("lost", request=request)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = self._sync.handle_request(request)
        response.read()
        self._maybe_lose(request)
        return response

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._async.handle_async_request(request)
        await response.aread()
        self._maybe_lose(request)
        return response

    def close(self) -> None:
        self._sync.close()

    async def aclose(self) -> None:
        await self._async.aclose()


@pytest.mark.usefixtures("_short_waits")
def test_steps_whose_answers_were_lost_happen_once(connect: Connect, server: Server, unbroken: dict[str, Any]) -> None:
    transport = LosesAnswers("/steps")
    session = connect(server.url, transport=transport).sessions.create("adamw", lr=0.01)
    params = train(session, some_params(), range(1, 11))
    assert transport.lost == 10
    assert bits(params) == unbroken
    assert session.info.step == session.get().step == 10


def test_a_repeated_step_after_no_answer_is_applied_once(connect: Connect, server: Server) -> None:
    client = connect(server.url, transport=LosesAnswers("/steps"), max_retries=0)
    session = client.sessions.create("sgd", lr=1.0)
    w = {"w": np.float32([1, 2]), "b": np.float32([3])}
    with pytest.raises(APIConnectionError):
        session.step(w, w, loss=0.5)
    params = session.step(dict(reversed(w.items())), w, loss=0.5)
    assert {name: array.tolist() for name, array in params.items()} == {"w": [0, 0], "b": [0]}
    assert session.info.step == session.get().step == 1


@pytest.mark.usefixtures("_short_waits")
def test_a_deletion_whose_answer_was_lost_is_done(connect: Connect, server: Server) -> None:
    plain = connect(server.url)
    session = plain.sessions.create("sgd", lr=1.0)
    transport = LosesAnswers(session.id)
    connect(server.url, transport=transport).sessions.delete(session.id)
    assert transport.lost == 1
    with pytest.raises(SessionNotFound):
        plain.sessions.get(session.id)


@pytest.mark.long
def test_a_restarted_server_is_not_noticed(connect: Connect, unbroken: dict[str, Any]) -> None:
    with Server() as mortal:
        client = connect(mortal.url)
        session = client.sessions.create("adamw", lr=0.01)
        params = train(session, some_params(), range(1, 6))
        mortal.kill()
        assert not client.ready()
        mortal.start()
        assert client.ready()
        assert bits(train(session, params, range(6, 11))) == unbroken
