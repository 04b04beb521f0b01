"""Work that starts at once: it ends without a task, or goes on in one."""

import asyncio
from contextvars import ContextVar

import pytest

from app.web.at_once import start

WHO = ContextVar("who", default="nobody")


async def test_work_that_waits_for_nothing_needs_no_task() -> None:
    done = []

    async def work() -> None:
        done.append(1)

    assert start(work(), asyncio.get_running_loop()) is None
    assert done == [1]


async def test_work_that_waits_goes_on_in_its_own_context() -> None:
    seen, gate = [], asyncio.Event()

    async def work() -> None:
        token = WHO.set("work")
        await gate.wait()
        await asyncio.sleep(0)
        with pytest.raises(ZeroDivisionError):
            await asyncio.wait_for(failing(), 1)
        seen.append(WHO.get())
        WHO.reset(token)

    task = start(work(), asyncio.get_running_loop())
    assert task is not None
    assert WHO.get() == "nobody"
    gate.set()
    await task
    assert seen == ["work"]


async def failing() -> None:
    await asyncio.sleep(0)
    raise ZeroDivisionError


async def test_work_that_is_cancelled_later_ends_as_a_task_does() -> None:
    seen = []

    async def work() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    task = start(work(), asyncio.get_running_loop())
    assert task is not None
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == ["cancelled"]
