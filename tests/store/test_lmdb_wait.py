"""Waits for futures of another thread."""

import asyncio
import gc
import weakref
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from app.store.lmdb_wait import Wait


async def test_a_wait_returns_what_the_thread_sets() -> None:
    with ThreadPoolExecutor(1) as thread:
        for number in range(200):
            answer: Future[int] = Future()
            wait = Wait(answer)
            thread.submit(answer.set_result, number)
            assert await wait.result() == number


async def test_a_wait_raises_the_threads_error() -> None:
    answer: Future[int] = Future()
    wait = Wait(answer)
    answer.set_exception(ValueError("bad"))
    with pytest.raises(ValueError, match="bad"):
        await wait.result()


async def test_a_wait_for_a_future_that_is_done_returns() -> None:
    answer: Future[int] = Future()
    answer.set_result(7)
    assert await Wait(answer).result() == 7


async def test_a_cancelled_wait_ends_with_the_thread() -> None:
    answer: Future[int] = Future()
    waiting = asyncio.create_task(Wait(answer).result())
    for _ in range(3):
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0.01)
        assert not waiting.done()
    answer.set_result(7)
    await asyncio.wait([waiting])
    assert waiting.cancelled()


class Answer(Exception):
    """A result, or an error."""


@pytest.mark.parametrize("end", ["result", "error", "cancelled"])
async def test_an_answer_is_freed_without_garbage_collection(end: str) -> None:
    future: Future[Answer] = Future()
    waiting, given = asyncio.create_task(Wait(future).result()), Answer()
    kept = weakref.ref(given)
    await asyncio.sleep(0)
    gc.disable()
    try:
        if end == "cancelled":
            waiting.cancel()
        (future.set_exception if end == "error" else future.set_result)(given)
        await asyncio.wait([waiting])
        assert waiting.cancelled() or waiting.exception() in (given, None)
        del future, waiting, given
        await asyncio.sleep(0)
        assert kept() is None
    finally:
        gc.enable()


def test_an_answer_for_a_closed_loop_is_no_error() -> None:
    answer: Future[int] = Future()

    async def wait() -> Wait[int]:
        return Wait(answer)

    asyncio.run(wait())
    answer.set_result(7)
    assert answer.result() == 7
