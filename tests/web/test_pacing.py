"""A few are begun in a turn of the event loop, in the order in which they came; what is urgent is begun at once."""

import asyncio
from functools import partial

import pytest

from app.web.pacing import BEGUN_IN_A_TURN, Pace


@pytest.fixture
def pace() -> Pace:
    return Pace({"/urgent"})


async def test_a_few_are_begun_in_each_turn_in_the_order_in_which_they_came(pace: Pace) -> None:
    begun = list[int]()
    answers = [pace.begin("/", partial(begun.append, number)) for number in range(3 * BEGUN_IN_A_TURN)]
    assert answers == [number < BEGUN_IN_A_TURN for number in range(3 * BEGUN_IN_A_TURN)]
    for turn in (1, 2, 3, 3):
        assert begun == list(range(turn * BEGUN_IN_A_TURN))
        await asyncio.sleep(0)


async def test_what_is_urgent_is_begun_before_what_waits(pace: Pace) -> None:
    begun = list[str]()
    for _ in range(2 * BEGUN_IN_A_TURN):
        pace.begin("/", partial(begun.append, "other"))
    assert pace.begin("/urgent", partial(begun.append, "urgent"))
    assert begun == ["other"] * BEGUN_IN_A_TURN + ["urgent"]


async def test_who_comes_later_stands_behind_those_who_wait(pace: Pace) -> None:
    begun = list[str]()
    for name in ["first"] * BEGUN_IN_A_TURN + ["second"] * BEGUN_IN_A_TURN:
        pace.begin("/", partial(begun.append, name))
    await asyncio.sleep(0)
    assert not pace.begin("/", partial(begun.append, "third"))
    await asyncio.sleep(0)
    assert begun == ["first"] * BEGUN_IN_A_TURN + ["second"] * BEGUN_IN_A_TURN + ["third"]


async def test_after_a_quiet_turn_all_is_begun_at_once_again(pace: Pace) -> None:
    begun = list[int]()
    for number in range(5):
        assert pace.begin("/", partial(begun.append, number))
        await asyncio.sleep(0)
    assert begun == list(range(5))


async def test_one_that_cannot_be_begun_does_not_keep_the_others(pace: Pace) -> None:
    begun, failures = list[int](), list[object]()
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
    for number in range(BEGUN_IN_A_TURN):
        pace.begin("/", partial(begun.append, number))
    error = RuntimeError()

    def fail() -> None:
        raise error

    pace.begin("/", fail)
    for number in range(BEGUN_IN_A_TURN, 3 * BEGUN_IN_A_TURN):
        pace.begin("/", partial(begun.append, number))
    for _ in range(5):
        await asyncio.sleep(0)
    assert begun == list(range(3 * BEGUN_IN_A_TURN))
    assert failures == [error]
