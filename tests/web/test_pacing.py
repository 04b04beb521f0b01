"""A few are begun in a turn of the event loop, in the order in which they came; what is urgent is begun at once."""

import asyncio
from functools import partial

import pytest

from app.web.pacing import STARTED_PER_TURN, Pacing


@pytest.fixture
def pacing() -> Pacing:
    return Pacing({"/urgent"})


async def test_each_turn_starts_a_few_requests_in_order(pacing: Pacing) -> None:
    begun = list[int]()
    answers = [pacing.begin("/", partial(begun.append, number)) for number in range(3 * STARTED_PER_TURN)]
    assert answers == [number < STARTED_PER_TURN for number in range(3 * STARTED_PER_TURN)]
    for turn in (1, 2, 3, 3):
        assert begun == list(range(turn * STARTED_PER_TURN))
        await asyncio.sleep(0)


async def test_urgent_requests_start_before_queued_ones(pacing: Pacing) -> None:
    begun = list[str]()
    for _ in range(2 * STARTED_PER_TURN):
        pacing.begin("/", partial(begun.append, "other"))
    assert pacing.begin("/urgent", partial(begun.append, "urgent"))
    assert begun == ["other"] * STARTED_PER_TURN + ["urgent"]


async def test_new_requests_wait_behind_queued_ones(pacing: Pacing) -> None:
    begun = list[str]()
    for name in ["first"] * STARTED_PER_TURN + ["second"] * STARTED_PER_TURN:
        pacing.begin("/", partial(begun.append, name))
    await asyncio.sleep(0)
    assert not pacing.begin("/", partial(begun.append, "third"))
    await asyncio.sleep(0)
    assert begun == ["first"] * STARTED_PER_TURN + ["second"] * STARTED_PER_TURN + ["third"]


async def test_requests_start_at_once_after_a_quiet_turn(pacing: Pacing) -> None:
    begun = list[int]()
    for number in range(5):
        assert pacing.begin("/", partial(begun.append, number))
        await asyncio.sleep(0)
    assert begun == list(range(5))


async def test_a_failing_start_does_not_hold_up_the_others(pacing: Pacing) -> None:
    begun, failures = list[int](), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
    for number in range(STARTED_PER_TURN):
        pacing.begin("/", partial(begun.append, number))
    error = RuntimeError()

    def fail() -> None:
        raise error

    pacing.begin("/", fail)
    for number in range(STARTED_PER_TURN, 3 * STARTED_PER_TURN):
        pacing.begin("/", partial(begun.append, number))
    for _ in range(5):
        await asyncio.sleep(0)
    assert begun == list(range(3 * STARTED_PER_TURN))
    assert failures == [error]
