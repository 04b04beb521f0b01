"""A few are begun in a turn of the event loop, in the order in which they came; what is urgent is begun at once."""

import asyncio
from functools import partial

import pytest

from app.web.pacing import STARTED_PER_TURN, Pacing


@pytest.fixture
def pacing() -> Pacing:
    return Pacing({"/urgent"})


async def test_a_few_are_begun_in_each_turn_in_the_order_in_which_they_came(pacing: Pacing) -> None:
    begun = list[int]()
    answers = [pacing.begin("/", partial(begun.append, number)) for number in range(3 * STARTED_PER_TURN)]
    assert answers == [number < STARTED_PER_TURN for number in range(3 * STARTED_PER_TURN)]
    for turn in (1, 2, 3, 3):
        assert begun == list(range(turn * STARTED_PER_TURN))
        await asyncio.sleep(0)


async def test_what_is_urgent_is_begun_before_what_waits(pacing: Pacing) -> None:
    begun = list[str]()
    for _ in range(2 * STARTED_PER_TURN):
        pacing.begin("/", partial(begun.append, "other"))
    assert pacing.begin("/urgent", partial(begun.append, "urgent"))
    assert begun == ["other"] * STARTED_PER_TURN + ["urgent"]


async def test_who_comes_later_stands_behind_those_who_wait(pacing: Pacing) -> None:
    begun = list[str]()
    for name in ["first"] * STARTED_PER_TURN + ["second"] * STARTED_PER_TURN:
        pacing.begin("/", partial(begun.append, name))
    await asyncio.sleep(0)
    assert not pacing.begin("/", partial(begun.append, "third"))
    await asyncio.sleep(0)
    assert begun == ["first"] * STARTED_PER_TURN + ["second"] * STARTED_PER_TURN + ["third"]


async def test_after_a_quiet_turn_all_is_begun_at_once_again(pacing: Pacing) -> None:
    begun = list[int]()
    for number in range(5):
        assert pacing.begin("/", partial(begun.append, number))
        await asyncio.sleep(0)
    assert begun == list(range(5))


async def test_one_that_cannot_be_begun_does_not_keep_the_others(pacing: Pacing) -> None:
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
