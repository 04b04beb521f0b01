"""Turns at a session: many changes at once, and each is made once."""

import asyncio
import gc
import weakref
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from app.errors import SessionBusy
from app.store.base import Head, Save
from app.store.memory import MemoryStore
from app.turns import finished
from tests.service.calls import W
from tests.service.gathered import body, created, service


async def test_one_of_eight_racing_clients_takes_the_step() -> None:
    async with service() as client:
        session = await created(client)
        for number in range(1, 6):
            answers = await asyncio.gather(*(client.post(f"{session}/steps", json=body(number, i)) for i in range(8)))
            assert Counter(answer.status_code for answer in answers) == {200: 1, 409: 7}
        assert (await client.get(session)).json()["step"] == 5
        assert len((await client.get(f"{session}/history")).json()["history"]) == 5


class YieldingStore(MemoryStore):
    """Lets the others run before it answers, as a store elsewhere does."""

    is_instant = False

    async def load(self, session_id: str) -> Head | None:
        head = await super().load(session_id)
        await asyncio.sleep(0)
        return head


async def test_one_of_eight_clients_deletes_the_session() -> None:
    async with service(YieldingStore(10)) as client:
        session = await created(client)
        answers = await asyncio.gather(*(client.delete(session) for _ in range(8)))
        assert Counter(answer.status_code for answer in answers) == {204: 1, 404: 7}


async def test_eight_tries_of_one_step_at_once_are_one_step() -> None:
    async with service() as client:
        session = await created(client)
        answers = await asyncio.gather(*(client.post(f"{session}/steps", json=body(1, 1)) for _ in range(8)))
        assert {(answer.status_code, answer.content) for answer in answers} == {(200, answers[0].content)}
        assert sum("idempotent-replayed" in answer.headers for answer in answers) == 7
        assert (await client.get(session)).json()["step"] == 1


async def test_steps_without_a_number_are_taken_one_by_one() -> None:
    async with service() as client:
        session = await created(client)
        answers = await asyncio.gather(*(client.post(f"{session}/steps", json=body(None, i)) for i in range(8)))
        assert sorted(answer.json()["step"] for answer in answers) == list(range(1, 9))


async def test_steps_and_changes_of_settings_at_once_all_happen() -> None:
    async with service() as client:
        session = await created(client)
        steps = [client.post(f"{session}/steps", json=body(None, i)) for i in range(6)]
        patches = [client.patch(session, json={"labels": {f"n{i}": "x"}}) for i in range(6)]
        answers = await asyncio.gather(*(call for pair in zip(steps, patches, strict=True) for call in pair))
        assert {answer.status_code for answer in answers} == {200}
        document = (await client.get(session)).json()
        assert (document["step"], len(document["labels"])) == (6, 6)


class LateStore(MemoryStore):
    """Saves the steps of the sessions that are labelled slow when it is told to."""

    is_instant = False

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
        slow, quick = await created(client, labels={"speed": "slow"}), await created(client)
        waiting = asyncio.create_task(client.post(f"{slow}/steps", json=W))
        assert (await client.post(f"{quick}/steps", json=W)).status_code == 200
        assert not waiting.done()
        assert (await client.get(slow)).json()["step"] == 0
        store.go_on.set()
        assert (await waiting).status_code == 200


async def test_an_error_is_freed_without_garbage_collection() -> None:
    kept: list[weakref.ref[SessionBusy]] = []

    async def failing() -> None:
        raise remembered(kept)

    gc.disable()
    try:
        with suppress(SessionBusy):
            await finished(failing())
        await asyncio.sleep(0)
        assert [error() for error in kept] == [None]
    finally:
        gc.enable()


def remembered(kept: list[weakref.ref[SessionBusy]]) -> SessionBusy:
    error = SessionBusy("busy")
    kept.append(weakref.ref(error))
    return error


async def test_a_cancelled_change_that_fails_leaves_no_unread_error() -> None:
    untold: list[dict[str, Any]] = []
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.set_exception_handler(lambda _, context: untold.append(context))

    async def failing() -> None:
        await ended.wait()
        raise ValueError

    waiting = asyncio.create_task(finished(failing()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    ended.set()
    await asyncio.sleep(0.01)
    del waiting
    gc.collect()
    assert untold == []
