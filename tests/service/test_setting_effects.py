"""The settings of the service by their effects: limits, admission, the cache and the sweep."""

import asyncio
import time

import httpx2
import numpy as np
import pytest

from app.main import create_app
from app.settings import Settings
from app.store.base import Head
from app.store.memory import MemoryStore
from app.web import admission
from tests.service.calls import SAFETENSORS, W, binary_step, create, path_of, problem, serving, step, stepped
from tests.service.faults import SlowStore


def test_a_step_beyond_the_most_tensors_is_refused() -> None:
    with serving(max_tensors=2) as client:
        session = create(client)
        two = {"a": 1.0, "b": 1.0}
        stepped(client, session, params=two, grads=two)
        three = {**two, "c": 1.0}
        refused = problem(step(client, session, params=three, grads=three), 400, "malformed_body")
        assert "the 2 that" in refused["detail"]


def test_a_name_beyond_the_longest_is_refused() -> None:
    with serving(max_name_length=3) as client:
        session = create(client)
        stepped(client, session, params={"abc": 1.0}, grads={"abc": 1.0})
        for name in ("abcd", ""):
            problem(step(client, session, params={name: 1.0}, grads={name: 1.0}), 400, "malformed_body")


@pytest.mark.parametrize("binary", [False, True])
def test_a_tensor_beyond_the_most_dimensions_is_refused(binary: bool) -> None:
    with serving(max_dimensions=2) as client:
        session = create(client)
        for dimensions, status in ((2, 200), (3, 400)):
            array = np.ones((1,) * dimensions, np.float32)
            tensors = {"w": array if binary else array.tolist()}
            answer = (
                binary_step(client, session, tensors, tensors)
                if binary
                else step(client, session, params=tensors, grads=tensors)
            )
            assert answer.status_code == status
        assert "3 dimensions, the limit is 2" in problem(answer, 400, "malformed_body")["detail"]


def test_json_beyond_the_deepest_nesting_is_refused() -> None:
    with serving(max_json_depth=4) as client:
        session = create(client)
        stepped(client, session, params={"w": [[1.0]]}, grads={"w": [[1.0]]})
        answer = step(client, session, params={"w": [[[1.0]]]}, grads={"w": [[[1.0]]]})
        assert "more than 4 lists and objects" in problem(answer, 400, "malformed_body")["detail"]
        answer = client.post("/v1/sessions", json={"optimizer": "adam", "metadata": {"a": {"b": {"c": {}}}}})
        assert "more than 4 lists and objects" in problem(answer, 400, "malformed_body")["detail"]


def test_every_step_releases_its_admission() -> None:
    with serving(max_waiting_steps=1) as client:
        session = create(client)
        for _ in range(3):
            stepped(client, session, **W)
            problem(step(client, session, grads={"w": ["x"]}), 400, "malformed_body")
            problem(step(client, session, **W, step=9), 409, "step_conflict")


async def test_a_step_waits_for_admission() -> None:
    store = SlowStore()
    app = create_app(Settings(store="memory:", max_waiting_steps=1), store)
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        steps = path_of(await client.post("/v1/sessions", json={"optimizer": "sgd"})) + "/steps"
        both = [asyncio.create_task(client.post(steps, json=W)) for _ in range(2)]
        await store.begun.wait()
        store.go_on.set()
        answers = await asyncio.gather(*both)
    assert [answer.json()["step"] for answer in answers] == [1, 2]


@pytest.mark.parametrize("upload", ["params", "state"])
async def test_an_upload_needs_admission(upload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "PATIENCE_SECONDS", (0, 0))
    store = SlowStore()
    app = create_app(Settings(store="memory:", max_waiting_steps=1), store)
    transport = httpx2.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client,
    ):
        session = path_of(await client.post("/v1/sessions", json={"optimizer": "sgd"}))
        step = asyncio.create_task(client.post(f"{session}/steps", json=W))
        await store.begun.wait()
        refused = await client.put(f"{session}/{upload}", content=b"", headers={"content-type": SAFETENSORS})
        store.go_on.set()
        assert (await step).status_code == 200
    problem(refused, 503, "overloaded")


class CountingStore(MemoryStore):
    """A store that counts how often a state is read, and how often it is swept."""

    def __init__(self) -> None:
        super().__init__(10)
        self.reads = self.sweeps = 0

    async def read(self, head: Head, into: memoryview) -> None:
        self.reads += 1
        await super().read(head, into)

    async def sweep(self) -> int:
        self.sweeps += 1
        return await super().sweep()


@pytest.mark.parametrize(("cached", "reads"), [(0, 2), (1 << 20, 0)])
def test_the_cache_keeps_states_up_to_its_bytes(cached: int, reads: int) -> None:
    store = CountingStore()
    with serving(store, state_cache_bytes=cached) as client:
        session = create(client)
        stepped(client, session, **W)
        store.reads = 0
        for _ in range(2):
            stepped(client, session, **W)
    assert store.reads == reads


def test_the_least_recently_used_state_leaves_the_cache_first() -> None:
    store = CountingStore()
    with serving(store, state_cache_bytes=33_000) as client:
        first, second, third = (create(client) for _ in range(3))
        stepped(client, first, **W)
        stepped(client, second, **W)
        client.get(f"{first}/state")
        stepped(client, third, **W)
        reads = []
        for session in (third, first, second):
            store.reads = 0
            client.get(f"{session}/state")
            reads.append(store.reads)
    assert reads == [0, 0, 1]


def test_the_sweep_removes_expired_sessions() -> None:
    store = CountingStore()
    with serving(store, sweep_seconds=0.01) as client:
        session = create(client, ttl_seconds=0.01)
        deadline = time.monotonic() + 10
        while store._heads and time.monotonic() < deadline:
            client.get("/livez")
            time.sleep(0.01)
        assert store._heads == {}
        assert store.sweeps >= 1
        problem(client.get(session), 404, "session_not_found")
