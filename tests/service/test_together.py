"""Many at once: on one session, on several, and on one store from several services."""

import asyncio
from collections.abc import Awaitable, Callable

from app.errors import StoreUnavailable
from app.store.base import Save
from app.store.memory import MemoryStore
from tests.service.gathered import body, created, service


async def test_two_services_on_one_store_are_as_one() -> None:
    store, alone = MemoryStore(100), MemoryStore(100)
    async with service(store) as one, service(store) as other, service(alone) as single:
        both, by_itself = await created(one), await created(single)
        for number in range(1, 21):
            near = one if number % 3 else other
            request = body(number, number / 7)
            answer = await near.post(f"{both}/steps", json=request)
            again = await (other if near is one else one).post(f"{both}/steps", json=request)
            expected = await single.post(f"{by_itself}/steps", json=request)
            assert answer.content == again.content == expected.content
            assert again.headers["idempotent-replayed"] == "true"


async def test_two_racing_services_take_every_step_once() -> None:
    store = MemoryStore(100)
    async with service(store) as one, service(store) as other:
        session = await created(one)
        calls = [client.post(f"{session}/steps", json=body(None, i)) for i in range(5) for client in (one, other)]
        answers = await asyncio.gather(*calls)
        taken = [answer.json()["step"] for answer in answers if answer.status_code == 200]
        busy = [answer.json()["code"] for answer in answers if answer.status_code == 409]
        assert sorted(taken) == list(range(1, len(taken) + 1))
        assert len(taken) >= 5
        assert set(busy) <= {"session_busy"}


class DoubtfulStore(MemoryStore):
    """Does what it is asked, and the answer is lost."""

    doubtful = False

    async def save(self, save: Save) -> None:
        await super().save(save)
        if self.doubtful:
            raise StoreUnavailable("no answer")


async def test_an_unconfirmed_save_is_answered_at_the_retry() -> None:
    store = DoubtfulStore(10)
    async with service(store) as client, service() as other:
        session, sure = await created(client), await created(other)
        for number in range(1, 4):
            store.doubtful = True
            lost = await client.post(f"{session}/steps", json=body(number, number))
            assert (lost.status_code, lost.json()["code"]) == (503, "store_unavailable")
            store.doubtful = False
            again = await client.post(f"{session}/steps", json=body(number, number))
            expected = await other.post(f"{sure}/steps", json=body(number, number))
            assert again.headers["idempotent-replayed"] == "true"
            assert again.content == expected.content


class InBetween(MemoryStore):
    """Lets something happen after it has looked for a key, as other processes do."""

    def __init__(self) -> None:
        super().__init__(10)
        self.meanwhile: list[Callable[[], Awaitable[object]]] = []

    async def used(self, session_id: str, digest: str) -> bytes | None:
        row = await super().used(session_id, digest)
        meanwhile, self.meanwhile = self.meanwhile, []
        for call in meanwhile:
            await call()
        return row


async def test_a_step_that_another_try_took_meanwhile_is_known() -> None:
    store = InBetween()
    async with service(store) as one, service(store) as other:
        session, key = await created(one), {"idempotency-key": '"mine"'}
        request = body(1, 0.5)
        store.meanwhile = [
            lambda: other.post(f"{session}/steps", json=request, headers=key),
            lambda: other.post(f"{session}/steps", json=body(2, 0.5)),
        ]
        late = await one.post(f"{session}/steps", json=request, headers=key)
        assert (late.status_code, late.json()["current_step"], late.json()["applied_as_step"]) == (409, 2, 1)


async def test_a_write_that_another_try_made_meanwhile_is_replayed() -> None:
    store = InBetween()
    async with service(store) as one, service(store) as other:
        session = await created(one)
        headers = {"idempotency-key": '"mine"', "if-match": (await one.get(session)).headers["etag"]}
        change = {"labels": {"a": "b"}}
        store.meanwhile = [lambda: other.patch(session, json=change, headers=headers)]
        late = await one.patch(session, json=change, headers=headers)
        assert (late.status_code, late.headers.get("idempotent-replayed")) == (200, "true")


async def test_a_refusal_with_a_new_key_stays_a_refusal() -> None:
    store = InBetween()
    async with service(store) as one, service(store) as other:
        session = await created(one)
        store.meanwhile = [lambda: other.post(f"{session}/steps", json=body(1, 0.5))]
        late = await one.post(f"{session}/steps", json=body(1, 0.7), headers={"idempotency-key": '"mine"'})
        assert (late.status_code, late.json()["code"], late.json()["current_step"]) == (409, "step_conflict", 1)
