"""Waiting for a round: woken by a close here or elsewhere, by a stop, and by its own end."""

import asyncio

import pytest

from app.contributions import waiting
from app.contributions.waiting import Waiting
from app.errors import StoreUnavailable

LONG = 60.0


async def test_a_close_wakes_those_who_wait_for_that_round() -> None:
    here = Waiting(None)
    with here.for_round("s", 3) as third, here.for_round("s", 4) as fourth, here.for_round("t", 3) as other:
        waits = [asyncio.create_task(waiter.wait(LONG)) for waiter in (third, fourth, other)]
        await asyncio.sleep(0)
        here.wake("s", 4)
        await waits[0]
        assert [wait.done() for wait in waits] == [True, False, False]
        for wait in waits:
            wait.cancel()


async def test_a_close_before_the_wait_is_not_missed() -> None:
    here = Waiting(None)
    with here.for_round("s", 3) as waiter:
        here.wake("s", 4)
        async with asyncio.timeout(10):
            await waiter.wait(LONG)


async def test_a_wait_ends_after_its_time() -> None:
    here = Waiting(None)
    with here.for_round("s", 3) as waiter:
        await waiter.wait(0.001)
    assert not here._waiters


async def test_a_stop_wakes_all_and_lets_nobody_wait() -> None:
    here = Waiting(None)
    with here.for_round("s", 3) as waiter, here.for_round("t", 1) as late:
        wait = asyncio.create_task(waiter.wait(LONG))
        await asyncio.sleep(0)
        here.end()
        await wait
        await late.wait(LONG)


async def test_rounds_that_others_close_are_found_in_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 0.001)
    looks = list[str]()

    async def next_round(session_id: str) -> int | None:
        looks.append(session_id)
        if len(looks) == 1:
            raise StoreUnavailable("away")
        return None if session_id == "gone" else 4 if len(looks) > 3 else 3

    there = Waiting(next_round)
    async with asyncio.timeout(10):
        for name in ("s", "gone"):
            with there.for_round(name, 3) as one, there.for_round(name, 3) as other:
                await asyncio.gather(one.wait(LONG), other.wait(LONG))
    assert not there._looks
    seen = len(looks)
    await asyncio.sleep(0.01)
    assert len(looks) == seen
