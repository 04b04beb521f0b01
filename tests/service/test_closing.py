"""The close of a round: by two processes at once, by the keeper, with a worker that is far off."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

import pytest
from httpx2 import Client

from app.contributions import keeper
from app.logs import LOGGER
from app.store.base import Save
from app.store.ledger import Due, Ledger
from app.store.piece import Piece
from tests.service.crew import GRADS, PARAMS, Crew
from tests.service.gathered import created, service
from tests.service.test_books import Shared


async def test_two_that_close_a_round_make_one_step() -> None:
    store = Shared(100)
    async with service(store) as one, service(store) as other:
        session = await created(one, hold_params=True, workers={"expected": 2, "quorum": 1, "grace_seconds": 60})
        await one.put(f"{session}/params", json={"params": PARAMS})
        await one.put(f"{session}/workers/a", json={})
        await one.put(f"{session}/rounds/1/contributions/a", json={"epoch": 1, "grads": GRADS})
        closes = [client.post(f"{session}/rounds/1/close") for client in (one, other)]
        answers = await asyncio.gather(*closes)
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        assert len((await one.get(f"{session}/history")).json()["history"]) == 1
        assert (await store.ledger(session.rpartition("/")[2])).pieces == ()  # type: ignore[union-attr]


class Remembering(Shared):
    """A store that names the deadline of a save that never came, as one in Redis may."""

    async def due(self) -> list[Due]:
        return [due for real in await super().due() for due in (real._replace(due_at=1.0), real)]


async def test_the_deadline_of_another_ledger_closes_no_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LOOK_SECONDS", 0.005)
    monkeypatch.setattr(keeper, "OTHERS_SECONDS", 0.01)
    async with service(Remembering(100)) as client:
        session = await created(client, hold_params=True, workers={"expected": 2, "quorum": 1, "grace_seconds": 60})
        await client.put(f"{session}/params", json={"params": PARAMS})
        await client.put(f"{session}/workers/a", json={})
        await client.put(f"{session}/rounds/1/contributions/a", json={"epoch": 1, "grads": GRADS})
        await asyncio.sleep(0.1)
        assert (await client.get(f"{session}/rounds/1")).json()["state"] == "open"


def test_a_round_closes_at_its_grace_although_nobody_sends(client: Client) -> None:
    crew = Crew(client, "a", "b", quorum=1, grace_seconds=0.1)
    answer = crew.push(1, "a", wait=20)
    assert (answer.status_code, answer.json()["step"]) == (200, 1)
    assert crew.fates(1) == {"a": "applied"}


def test_a_worker_that_is_far_off_is_named(client: Client) -> None:
    crew = Crew(client, "a", "b", "c")
    crew.push(1, "a")
    crew.push(1, "b")
    answer = crew.push(1, "c", {"w": [1000.0, 0.0, 0.0]})
    assert "worker 'c'" in answer.json()["warnings"][0]
    assert crew.push(1, "a").json() == answer.json()


class Beating(Shared):
    """A store in which a lease is renewed by somebody else just before a close is saved; it counts what it reads."""

    def __init__(self) -> None:
        super().__init__(10)
        self.beat: Callable[[], Awaitable[object]] | None = None
        self.reads = 0

    async def save(self, save: Save) -> None:
        beat, self.beat = self.beat, None
        if beat is not None:
            await beat()
        await super().save(save)

    async def contents(self, ledger: Ledger, pieces: Sequence[Piece]) -> list[memoryview]:
        self.reads += 1
        return await super().contents(ledger, pieces)


async def test_a_renewed_lease_costs_a_close_no_second_computation() -> None:
    store = Beating()
    async with service(store) as one, service(store) as other:
        session = await created(one, hold_params=True, workers={"expected": 2, "quorum": 1, "grace_seconds": 60})
        await one.put(f"{session}/params", json={"params": PARAMS})
        await one.put(f"{session}/workers/a", json={})
        await one.put(f"{session}/rounds/1/contributions/a", json={"epoch": 1, "grads": GRADS})
        store.beat = lambda: other.put(f"{session}/workers/b", json={})
        closed = await one.post(f"{session}/rounds/1/close")
        assert (closed.status_code, closed.json()["state"], store.reads) == (200, "applied", 1)
        workers = (await other.get(f"{session}/workers")).json()["workers"]
        assert [worker["worker"] for worker in workers] == ["a", "b"]


def test_each_close_has_a_line_in_the_log(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    crew = Crew(client, "a", "b", quorum=1)
    with caplog.at_level(logging.INFO, LOGGER):
        for number, names in ((1, "ab"), (2, "a")):
            for name in names:
                crew.push(number, name)
        crew.close(2)
    session = crew.session.rpartition("/")[2]
    assert [message for message in caplog.messages if "round=" in message] == [
        f"closed a round session={session} round=1 cause=expected applied=2",
        f"closed a round session={session} round=2 cause=asked applied=1",
    ]
