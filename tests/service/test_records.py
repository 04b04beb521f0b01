"""Records: sessions of a store that is slow, damaged or ahead, and of clients that have left."""

import asyncio

import pytest

from app.store.base import Head
from app.store.memory import MemoryStore
from tests.service.calls import W, binary_step, bits, create, problem, serving
from tests.service.faults import SlowStore
from tests.service.gathered import body, created, service
from tests.service.state_files import download, some_params, train, upload


class DamagedStore(MemoryStore):
    """A store whose pieces can be overwritten."""

    def damage(self) -> None:
        for views in self._states.values():
            for name, data in views.by_name.items():
                views.by_name[name] = bytes([data[0] ^ 1]) + data[1:]


def test_a_damaged_state_is_refused_until_it_is_replaced() -> None:
    store = DamagedStore(10)
    with serving(store) as client:
        session = create(client)
        params = train(client, session, some_params(), range(1, 4), hold=False)
        file = download(client, session)
        once = bits(train(client, session, params, range(4, 6), hold=False))
        assert upload(client, session, file).status_code == 204
    store.damage()
    with serving(store, state_cache_bytes=0) as client:
        for answer in (client.get(f"{session}/state"), binary_step(client, session, params, params)):
            assert "upload a saved state" in problem(answer, 500, "state_damaged")["detail"]
            assert answer.headers["x-should-retry"] == "false"
        assert upload(client, session, file).status_code == 204
        assert bits(train(client, session, params, range(4, 6), hold=False)) == once


def test_a_damaged_session_can_be_deleted() -> None:
    store = DamagedStore(10)
    with serving(store) as client:
        session = create(client)
        train(client, session, some_params(), range(1, 2), hold=False)
        name = session.rpartition("/")[2]
        store._heads[name] = store._heads.written(name)[:-1]
        problem(client.get(session), 500, "state_damaged")
        assert client.delete(session).status_code == 204
        problem(client.get(session), 404, "session_not_found")


class LeavingStore(MemoryStore):
    """Has a session deleted by somebody else just after it was looked at."""

    leaving = False

    async def load(self, session_id: str) -> Head | None:
        head = await super().load(session_id)
        if self.leaving:
            await self.delete(session_id)
        return head


async def test_a_session_that_is_deleted_meanwhile_has_no_empty_history() -> None:
    store = LeavingStore(10)
    async with service(store) as client:
        session = await created(client)
        await client.post(f"{session}/steps", json=body(1, 1))
        assert len((await client.get(f"{session}/history")).json()["history"]) == 1
        store.leaving = True
        assert (await client.get(f"{session}/history")).status_code == 404


async def test_a_step_is_saved_though_its_client_left() -> None:
    store = SlowStore()
    async with service(store) as client:
        session = await created(client)
        step = asyncio.create_task(client.post(f"{session}/steps", json={**W, "step": 1}))
        await store.begun.wait()
        step.cancel()
        with pytest.raises(asyncio.CancelledError):
            await step
        store.go_on.set()
        again = await client.post(f"{session}/steps", json={**W, "step": 1})
        assert again.headers["idempotent-replayed"] == "true"
        assert (await client.get(session)).json()["step"] == 1
        assert (await client.post(f"{session}/steps", json={**W, "step": 2})).status_code == 200
