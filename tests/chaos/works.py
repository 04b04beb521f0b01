"""The changes of a session that a fault may hit: their start, their request and their outcome."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx2
import numpy as np
from optim_client import Int8, TopK
from optim_client._gradients import parts_of

from app.main import create_app
from app.settings import Settings
from app.store.base import Store
from app.wire.codec import Limits
from app.wire.state_file import StateFile
from tests.bodies import encode
from tests.service.calls import SAFETENSORS, path_of

SMALL, LARGE = 5, 400_000
"""Elements. The large state of 4.8 MB is several pieces, saved while the step is computed."""
BINARY = {"content-type": SAFETENSORS}
KEY = {"idempotency-key": '"a change"'}


@dataclass(frozen=True)
class Asked:
    """A request to a session; `rest` is the path after the session's."""

    method: str
    rest: str = ""
    content: bytes = b""
    headers: Mapping[str, str] | None = None

    async def send(self, client: httpx2.AsyncClient, session: str) -> httpx2.Response:
        return await client.request(self.method, session + self.rest, content=self.content, headers=self.headers)


def drawn(size: int, seed: int) -> dict[str, Any]:
    return {"w": np.random.default_rng(seed).standard_normal(size, np.float32)}


def a_step(number: int, size: int, *, held: bool) -> Asked:
    tensors = {"grads": drawn(size, number)} | ({} if held else {"params": drawn(size, -number % 99)})
    headers = BINARY | {"idempotency-key": f'"step {number}"'}
    return Asked("POST", "/steps", encode(tensors, {"step": str(number)}), headers)


def a_compressed_step(number: int) -> Asked:
    grads, others = parts_of({"w": TopK([1, 4], Int8(np.int8([number, -7]), 0.5))})
    headers = BINARY | {"idempotency-key": f'"step {number}"'}
    return Asked("POST", "/steps", encode({"grads": grads}, {"step": str(number)}, others), headers)


def hold(size: int) -> Asked:
    return Asked("PUT", "/params", encode({"params": drawn(size, 7)}, {}), BINARY)


def keyed(asked: Asked) -> Asked:
    return replace(asked, headers={**(asked.headers or {}), **KEY})


@dataclass(frozen=True)
class Work:
    """A change of a session at step 1. `asked` is the request that a fault hits."""

    name: str
    asked: Asked
    size: int = SMALL
    held: bool = False
    undo: int = 0

    async def start(self, client: httpx2.AsyncClient) -> str:
        """Create a session in the start state; return its path. The start state is always the same."""
        settings = {"optimizer": "adamw", "hold_params": self.held, "undo": self.undo}
        answer = await client.post("/v1/sessions", json=settings)
        session = path_of(answer)
        if self.held:
            await hold(self.size).send(client, session)
        answer = await a_step(1, self.size, held=self.held).send(client, session)
        assert answer.status_code == 200, answer.text
        return session


async def works(client: httpx2.AsyncClient) -> list[Work]:
    """Return all kinds of change. The state to be uploaded is that of another session."""
    other = Work("", Asked("GET"), held=True)
    session = await other.start(client)
    await a_step(2, SMALL, held=True).send(client, session)
    state = (await client.get(f"{session}/state")).content
    json = {"content-type": "application/json"}
    settings = Asked("PATCH", "", b'{"hyperparameters":{"lr":0.5}}', json)
    undo = Asked("POST", "/undo", b'{"step":1}', json)
    return [
        Work("a step", a_step(2, SMALL, held=False)),
        Work("a step of held parameters", a_step(2, SMALL, held=True), held=True),
        Work("a step of few elements", a_compressed_step(2), held=True),
        Work("a large step", a_step(2, LARGE, held=True), LARGE, held=True),
        Work("other settings", keyed(settings)),
        Work("other parameters", keyed(hold(SMALL)), held=True),
        Work("large other parameters", keyed(hold(LARGE)), LARGE, held=True),
        Work("a tensor begun anew", keyed(Asked("PATCH", "/tensors", b'{"reset":["w"]}', json)), held=True),
        Work("a large tensor renamed", keyed(Asked("PATCH", "/tensors", b'{"rename":{"w":"x"}}', json)), LARGE, True),
        Work("a state put back", keyed(Asked("PUT", "/state", state, BINARY)), held=True),
        Work("a deletion", keyed(Asked("DELETE"))),
        Work("a step that can be undone", a_step(2, SMALL, held=True), held=True, undo=1),
        Work("a large step that can be undone", a_step(2, LARGE, held=True), LARGE, held=True, undo=1),
        Work("an undone step", keyed(undo), undo=1),
        Work("a large undone step", keyed(undo), LARGE, held=True, undo=2),
    ]


@asynccontextmanager
async def service_on(store: Store) -> AsyncIterator[httpx2.AsyncClient]:
    """Run a service with an empty cache on an open store."""
    app = create_app(Settings(store="memory:"), store)
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
        yield client
    app.state.service.compute.close()


async def state_of(client: httpx2.AsyncClient, session: str) -> str | None:
    """Read the whole state and check it; return its digest, or `None` if the session is gone."""
    answer = await client.get(session)
    if answer.status_code == 404:
        return None
    file = await client.get(f"{session}/state")
    assert file.status_code == 200, file.text
    StateFile(file.content, Limits(max_tensors=9, max_name_length=9))  # checks the content against the digest
    digest: str = answer.json()["digest"]
    return digest


async def settled(before: set[asyncio.Task[Any]]) -> None:
    """Wait for all tasks but those of `before`: a cancelled request leaves some behind."""
    while tasks := asyncio.all_tasks() - before:
        await asyncio.wait(tasks)
