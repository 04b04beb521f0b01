"""Many at once: on one session, on several, and on one store from several services."""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import numpy as np
import pytest
from optim_client._tensors import decode

from app import changes
from app.compute import INLINE_BELOW, Compute
from app.errors import StoreUnavailable
from app.main import create_app
from app.settings import Settings
from app.store.base import Head, Save
from app.store.memory import MemoryStore
from tests.bodies import encode
from tests.service.calls import SAFETENSORS, W, bits, path_of, serving
from tests.service.test_errors import SlowStore


@asynccontextmanager
async def service(store: MemoryStore | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    app = create_app(Settings(store="memory:"), store)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost") as client,
    ):
        yield client


async def create(client: httpx2.AsyncClient, **settings: Any) -> str:
    answer = await client.post("/v1/sessions", json={"optimizer": "adamw", **settings})
    return path_of(answer)


def body(number: int | None, value: float) -> dict[str, Any]:
    return {"params": {"w": [1.0, 2.0]}, "grads": {"w": [value, 1.0]}} | ({} if number is None else {"step": number})


async def test_of_eight_clients_that_race_for_a_step_one_wins() -> None:
    async with service() as client:
        session = await create(client)
        for number in range(1, 6):
            answers = await asyncio.gather(*(client.post(f"{session}/steps", json=body(number, i)) for i in range(8)))
            assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 7}
        assert (await client.get(session)).json()["step"] == 5
        assert len((await client.get(f"{session}/history")).json()["history"]) == 5


class YieldingStore(MemoryStore):
    """Lets the others run before it answers, as a store elsewhere does."""

    async def load(self, session_id: str) -> Head | None:
        head = await super().load(session_id)
        await asyncio.sleep(0)
        return head


async def test_of_eight_clients_that_delete_a_session_one_did() -> None:
    async with service(YieldingStore(10)) as client:
        session = await create(client)
        answers = await asyncio.gather(*(client.delete(session) for _ in range(8)))
        assert Counter(answer.status_code for answer in answers) == {204: 1, 404: 7}


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
        session = await create(client)
        await client.post(f"{session}/steps", json=body(1, 1))
        assert len((await client.get(f"{session}/history")).json()["history"]) == 1
        store.leaving = True
        assert (await client.get(f"{session}/history")).status_code == 404


async def test_eight_tries_of_one_step_at_once_are_one_step() -> None:
    async with service() as client:
        session = await create(client)
        answers = await asyncio.gather(*(client.post(f"{session}/steps", json=body(1, 1)) for _ in range(8)))
        assert {(answer.status_code, answer.content) for answer in answers} == {(200, answers[0].content)}
        assert sum("idempotent-replayed" in answer.headers for answer in answers) == 7
        assert (await client.get(session)).json()["step"] == 1


async def test_steps_without_a_number_are_all_taken_one_after_the_other() -> None:
    async with service() as client:
        session = await create(client)
        answers = await asyncio.gather(*(client.post(f"{session}/steps", json=body(None, i)) for i in range(8)))
        assert sorted(answer.json()["step"] for answer in answers) == list(range(1, 9))


async def test_steps_and_changes_of_settings_at_once_all_happen() -> None:
    async with service() as client:
        session = await create(client)
        steps = [client.post(f"{session}/steps", json=body(None, i)) for i in range(6)]
        patches = [client.patch(session, json={"labels": {f"n{i}": "x"}}) for i in range(6)]
        answers = await asyncio.gather(*(call for pair in zip(steps, patches, strict=True) for call in pair))
        assert {answer.status_code for answer in answers} == {200}
        document = (await client.get(session)).json()
        assert (document["step"], len(document["labels"])) == (6, 6)


async def test_two_services_on_one_store_are_as_one() -> None:
    store, alone = MemoryStore(100), MemoryStore(100)
    async with service(store) as one, service(store) as other, service(alone) as single:
        both, by_itself = await create(one), await create(single)
        for number in range(1, 21):
            near = one if number % 3 else other
            request = body(number, number / 7)
            answer = await near.post(f"{both}/steps", json=request)
            again = await (other if near is one else one).post(f"{both}/steps", json=request)
            expected = await single.post(f"{by_itself}/steps", json=request)
            assert answer.content == again.content == expected.content
            assert again.headers["idempotent-replayed"] == "true"


async def test_two_services_that_race_on_one_store_take_every_step_once() -> None:
    store = MemoryStore(100)
    async with service(store) as one, service(store) as other:
        session = await create(one)
        calls = [client.post(f"{session}/steps", json=body(None, i)) for i in range(5) for client in (one, other)]
        answers = await asyncio.gather(*calls)
        taken = [answer.json()["step"] for answer in answers if answer.status_code == 200]
        busy = [answer.json()["code"] for answer in answers if answer.status_code == 409]
        assert sorted(taken) == list(range(1, len(taken) + 1))
        assert len(taken) >= 5
        assert set(busy) <= {"session_busy"}


class LateStore(MemoryStore):
    """Saves the steps of the sessions that are labelled slow when it is told to."""

    def __init__(self) -> None:
        super().__init__(10)
        self.go_on = asyncio.Event()

    async def save(self, save: Save) -> None:
        if save.row and b"slow" in save.head.document:
            await self.go_on.wait()
        await super().save(save)


async def test_a_session_does_not_wait_for_another() -> None:
    store = LateStore()
    async with service(store) as client:
        slow, quick = await create(client, labels={"speed": "slow"}), await create(client)
        waiting = asyncio.create_task(client.post(f"{slow}/steps", json=W))
        assert (await client.post(f"{quick}/steps", json=W)).status_code == 200
        assert not waiting.done()
        assert (await client.get(slow)).json()["step"] == 0
        store.go_on.set()
        assert (await waiting).status_code == 200


async def test_a_step_whose_client_went_away_while_it_was_saved_is_saved() -> None:
    store = SlowStore()
    async with service(store) as client:
        session = await create(client)
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


class DoubtfulStore(MemoryStore):
    """Does what it is asked, and the answer is lost."""

    doubtful = False

    async def save(self, save: Save) -> None:
        await super().save(save)
        if self.doubtful:
            raise StoreUnavailable("no answer")


async def test_a_step_that_was_saved_and_not_confirmed_is_answered_at_the_next_try() -> None:
    store = DoubtfulStore(10)
    async with service(store) as client, service() as other:
        session, sure = await create(client), await create(other)
        for number in range(1, 4):
            store.doubtful = True
            lost = await client.post(f"{session}/steps", json=body(number, number))
            assert (lost.status_code, lost.json()["code"]) == (503, "store_unavailable")
            store.doubtful = False
            again = await client.post(f"{session}/steps", json=body(number, number))
            expected = await other.post(f"{sure}/steps", json=body(number, number))
            assert again.headers["idempotent-replayed"] == "true"
            assert again.content == expected.content


async def test_small_work_is_done_at_once_and_large_work_on_a_thread_of_its_own() -> None:
    compute = Compute(2)
    names = [await compute.run(lambda: threading.current_thread().name, nbytes) for nbytes in (0, INLINE_BELOW)]
    compute.close()
    assert names[0] == threading.current_thread().name
    assert names[1].startswith("compute")


def test_a_small_step_of_a_large_session_does_not_keep_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[str] = []
    step = changes.step

    def seen(*args: Any) -> Any:
        threads.append(threading.current_thread().name.partition("_")[0])
        return step(*args)

    monkeypatch.setattr(changes, "step", seen)
    large, small = {"large": np.ones(INLINE_BELOW, np.float32)}, {"small": np.float32([1, 2])}
    with serving() as client:
        session = path_of(client.post("/v1/sessions", json={"optimizer": "adamw"}))
        for tensors in (small, large, small):
            content = encode({"params": tensors, "grads": tensors}, {})
            answer = client.post(f"{session}/steps", content=content, headers={"content-type": SAFETENSORS})
            assert answer.status_code == 200
    assert threads == [threading.current_thread().name, "compute", "compute"]


async def test_large_steps_at_once_have_the_bits_of_large_steps_one_by_one() -> None:
    def request(seed: int) -> bytes:
        draw = np.random.default_rng(seed).standard_normal
        return encode({"params": {"w": draw(200_000, np.float32)}, "grads": {"w": draw(200_000, np.float32)}}, {})

    async with service() as client:
        headers = {"content-type": SAFETENSORS}
        sessions = [await create(client) for _ in range(8)]
        one_by_one = [
            (await client.post(f"{session}/steps", content=request(seed), headers=headers)).content
            for seed, session in enumerate(sessions)
        ]
        others = [await create(client) for _ in range(8)]
        at_once = await asyncio.gather(
            *(
                client.post(f"{session}/steps", content=request(seed), headers=headers)
                for seed, session in enumerate(others)
            )
        )
    for once, again in zip(one_by_one, at_once, strict=True):
        assert bits(decode(once, "params")[0]) == bits(decode(again.content, "params")[0])
        assert once == again.content
