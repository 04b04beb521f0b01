"""A client of a few lines: what a test says is what is sent, and what came back is what it sees.

Binary bodies go through the Python client's own reader and writer, which share nothing with the service's.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin

import httpx2
import numpy as np
from fastapi import FastAPI
from httpx2 import Client
from optim_client._tensors import Arrays, decode
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.main import create_app
from app.settings import Settings
from app.store.base import Store
from tests.bodies import encode

SAFETENSORS = "application/vnd.safetensors"
W: dict[str, Any] = {"params": {"w": [1.0, 2.0]}, "grads": {"w": [0.5, -0.25]}}
"""A step that most tests can take."""


class InParts(httpx2.AsyncByteStream):
    """A body whose length is not known beforehand."""

    def __init__(self, parts: Iterable[bytes]) -> None:
        self._parts = parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            yield part


def left_early(app: ASGIApp) -> ASGIApp:
    """The application, called by one who leaves a stream of events after its first part."""

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        left = asyncio.Event()
        streams = False

        async def send_first(message: Message) -> None:
            nonlocal streams
            if message["type"] == "http.response.start":
                streams = (b"content-type", b"text/event-stream; charset=utf-8") in message["headers"]
            elif streams and message.get("more_body"):
                left.set()
            await send(message)

        async def receive_or_leave() -> Message:
            received, leaving = asyncio.ensure_future(receive()), asyncio.ensure_future(left.wait())
            await asyncio.wait([received, leaving], return_when=asyncio.FIRST_COMPLETED)
            if received.done():
                leaving.cancel()
                return received.result()
            received.cancel()
            return {"type": "http.disconnect"}

        await app(scope, receive_or_leave, send_first)

    return answer


class InThisThread(httpx2.BaseTransport):
    """Hands requests to an application, on an event loop that runs for as long as a request does."""

    def __init__(self, app: ASGIApp, runner: asyncio.Runner) -> None:
        self._asgi = httpx2.ASGITransport(left_early(app), raise_app_exceptions=False)
        self._runner = runner

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return self._runner.run(self._answer(request))

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        if not isinstance(request.stream, httpx2.AsyncByteStream):
            request.stream = InParts(request.stream)
        answer = await self._asgi.handle_async_request(request)
        return httpx2.Response(answer.status_code, headers=answer.headers, content=await answer.aread())


@contextmanager
def serving(store: Store | None = None, /, **settings: Any) -> Iterator[Client]:
    """The service in this thread; with a store object of its own, or one by its URL."""
    with running(create_app(Settings(**{"store": "memory:"} | settings), store)) as client:
        yield client


@contextmanager
def running(app: FastAPI) -> Iterator[Client]:
    """An application in this thread."""
    with asyncio.Runner() as runner:
        lifespan = app.router.lifespan_context(app)
        runner.run(lifespan.__aenter__())
        try:
            with Client(transport=InThisThread(app, runner), base_url="http://localhost") as client:
                yield client
        finally:
            runner.run(lifespan.__aexit__(None, None, None))


def create(client: Client, optimizer: str = "adamw", **settings: Any) -> str:
    """The path of a new session."""
    answer = client.post("/v1/sessions", json={"optimizer": optimizer, **settings})
    assert answer.status_code == 201, answer.text
    return path_of(answer)


def path_of(answer: httpx2.Response) -> str:
    """Return the path of the session that was created; `Location` is relative to that of the request."""
    return urljoin("/v1/sessions", answer.headers["location"])


def summary_of(session: Mapping[str, Any], state_bytes: int) -> dict[str, Any]:
    """Return the session as a list has it."""
    rest = {name: value for name, value in session.items() if name != "tensors"}
    return {**rest, "tensor_count": len(session["tensors"]), "state_bytes": state_bytes}


def step(client: Client, session: str, key: str | None = None, **body: Any) -> httpx2.Response:
    headers = {} if key is None else {"idempotency-key": f'"{key}"'}
    return client.post(f"{session}/steps", json=body, headers=headers)


def stepped(client: Client, session: str, key: str | None = None, **body: Any) -> dict[str, Any]:
    """The answer of a step that must not fail."""
    answer = step(client, session, key, **body)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


def binary_step(
    client: Client,
    session: str,
    grads: Mapping[str, Any],
    params: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
    **metadata: object,
) -> httpx2.Response:
    tensors = {"grads": grads} if params is None else {"params": params, "grads": grads}
    body = encode(tensors, {name: str(value) for name, value in metadata.items()})
    return client.post(f"{session}/steps", content=body, headers={"content-type": SAFETENSORS, **(headers or {})})


def read_binary(answer: httpx2.Response, kind: str = "params") -> tuple[Arrays, dict[str, str]]:
    """The tensors and the metadata of an answer."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == SAFETENSORS
    return decode(answer.content, kind)


def problem(answer: httpx2.Response, status: int, code: str) -> dict[str, Any]:
    """The problem document of a refusal, which has the one shape that all have."""
    document: dict[str, Any] = answer.json()
    assert (answer.status_code, document.get("code")) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "code"} <= document.keys()
    assert (document["type"], document["status"]) == (f"urn:optim:error:{code}", status)
    assert answer.headers["x-request-id"]
    return document


def bits(arrays: Mapping[str, Any]) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    """Arrays as what two of them must share to be the same."""
    made = {name: np.asarray(array) for name, array in arrays.items()}
    return {name: (array.dtype.name, array.shape, array.tobytes()) for name, array in sorted(made.items())}


def patched(client: Client, session: str, **changes: Any) -> dict[str, Any]:
    answer = client.patch(session, json=changes)
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    assert document == client.get(session).json()
    assert answer.headers["etag"] == client.get(session).headers["etag"]
    return document
