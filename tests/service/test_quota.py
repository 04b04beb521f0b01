"""Quotas of a tenant, on each store."""

import asyncio
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from httpx2 import Client

from app.main import create_app
from app.settings import Settings
from app.store.base import Head, Save, Saving
from app.store.memory import MemoryStore
from app.store.piece import PIECE_BYTES
from tests.service.calls import SAFETENSORS, W, binary_step, create, problem, serving, step, stepped
from tests.service.crew import Crew

SGD: dict[str, Any] = {"optimizer": "sgd"}
BYTES_OF_W = 64 + 8
"""Adam's m of two float32, and v at the next place that a cache line begins."""


def new(client: Client) -> httpx2.Response:
    return client.post("/v1/sessions", json=SGD)


def test_so_many_sessions_and_no_more(store_url: str) -> None:
    with serving(store=store_url, max_sessions=3) as client:
        sessions = [create(client) for _ in range(3)]
        refused = problem(new(client), 403, "quota_exceeded")
        assert refused["limit"] == 3
        assert "OPTIM_MAX_SESSIONS" in refused["detail"]
        for session in sessions:
            stepped(client, session, **W)
            assert client.patch(session, json={"labels": {"run": "1"}}).status_code == 200
        client.delete(sessions[1])
        assert new(client).status_code == 201
        problem(new(client), 403, "quota_exceeded")


def test_an_expired_session_takes_no_place() -> None:
    with serving(max_sessions=1) as client:
        create(client, ttl_seconds=1e-6)
        assert new(client).status_code == 201


def test_sessions_are_counted_beyond_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.quota.PAGE", 2)
    with serving(max_sessions=5) as client:
        assert [new(client).status_code for _ in range(6)] == [201] * 5 + [403]


def test_concurrent_creations_never_exceed_max_sessions(store_url: str) -> None:
    async def at_once() -> list[int]:
        app = create_app(Settings(store=store_url, max_sessions=5))
        transport = httpx2.ASGITransport(app)
        async with (
            app.router.lifespan_context(app),
            httpx2.AsyncClient(transport=transport, base_url="http://localhost") as c,
        ):
            answers = await asyncio.gather(*(c.post("/v1/sessions", json=SGD) for _ in range(20)))
            return sorted(answer.status_code for answer in answers)

    assert asyncio.run(at_once()) == [201] * 5 + [403] * 15


def test_state_grows_to_so_many_bytes_and_no_further(store_url: str) -> None:
    with serving(store=store_url, max_state_bytes=2 * BYTES_OF_W) as client:
        first, second, third = (create(client) for _ in range(3))
        for session in (first, second):
            stepped(client, session, **W)
        refused = problem(step(client, third, **W), 403, "quota_exceeded")
        assert refused["limit"] == 2 * BYTES_OF_W
        assert "OPTIM_MAX_STATE_BYTES" in refused["detail"]
        assert client.get(third).json()["step"] == 0
        more = {"w": [1.0, 2.0], "x": [1.0]}
        problem(step(client, first, params=more, grads=more), 403, "quota_exceeded")
        for _ in range(2):
            stepped(client, first, **W)
        client.delete(second)
        stepped(client, third, **W)


def test_parameters_and_states_that_are_put_count_too() -> None:
    with serving(max_state_bytes=100) as client:
        holds = create(client, hold_params=True)
        large = {"params": {"w": [0.0] * 30}}
        problem(client.put(f"{holds}/params", json=large), 403, "quota_exceeded")
        with serving() as other:
            there = create(other)
            stepped(other, there, params={"w": [0.0] * 30}, grads={"w": [1.0] * 30})
            state = other.get(f"{there}/state").content
        answer = client.put(f"{create(client)}/state", content=state, headers={"content-type": SAFETENSORS})
        problem(answer, 403, "quota_exceeded")


def test_each_tenant_has_room_of_its_own(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    rows = [{"sha256": hashlib.sha256(t.encode()).hexdigest(), "tenant": t, "role": "write"} for t in ("a", "b")]
    file.write_text(json.dumps({"keys": rows}))
    with serving(api_keys_file=file, max_sessions=1) as client:
        for tenant in ("a", "b"):
            client.headers["authorization"] = f"Bearer {tenant}"
            assert [new(client).status_code for _ in range(2)] == [201, 403]


def test_a_session_deleted_elsewhere_is_not_found_despite_the_quota() -> None:
    store = MemoryStore(10)
    with serving(store, max_state_bytes=BYTES_OF_W) as client, serving(store) as other:
        session = create(client)
        stepped(client, session, **W)
        other.delete(session)
        stepped(other, create(other), **W)
        more = {"w": [1.0, 2.0], "x": [1.0]}
        problem(step(client, session, params=more, grads=more), 404, "session_not_found")


class LendingStore(MemoryStore):
    """Keeps count of the savings that it lent, of those that were left, and of those that had saved."""

    def __init__(self) -> None:
        super().__init__(10)
        self.lent = self.left = self.saved = 0

    def saving(self, session_id: str, token: str, previous: Head | None = None) -> Saving:
        store = self
        self.lent += 1

        class Counted(Saving):
            async def save(self, save: Save) -> None:
                store.saved += 1
                await super().save(save)

            async def discard(self) -> None:
                store.left += 1

        return Counted(self, token)


def test_what_a_refused_step_has_written_already_is_discarded() -> None:
    store = LendingStore()
    with serving(store, max_state_bytes=PIECE_BYTES) as client:
        session = create(client)
        large = {"w": np.ones(2 * PIECE_BYTES // 4, np.float32)}
        problem(binary_step(client, session, large, large), 403, "quota_exceeded")
    assert (store.lent, store.left, store.saved) == (1, 1, 0)


def test_contributions_that_wait_count_beside_the_states(store_url: str) -> None:
    with serving(store=store_url, max_state_bytes=600) as client:
        crew = Crew(client, "a", "b", "c", quorum=3)
        taken = [crew.push(1, name).status_code for name in ("a", "b")]
        assert taken == [202, 202]
        refused = problem(crew.push(1, "c"), 403, "quota_exceeded")
        assert refused["limit"] == 600
        assert "OPTIM_MAX_STATE_BYTES" in refused["detail"]
        assert crew.round(1)["have"] == 2
