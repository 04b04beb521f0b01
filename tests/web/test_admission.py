"""The places for work: how many there are, who gets the next one, and that none is lost."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from app.errors import Overloaded
from app.web import admission
from app.web.admission import Admission


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "PATIENCE_SECONDS", (0.02, 0.02))


async def taken(places: Admission, tenant: str, most: int = 100) -> AsyncExitStack:
    """Take as many places as a tenant gets at once."""
    held = AsyncExitStack()
    for _ in range(most):
        try:
            await held.enter_async_context(places.place(tenant))
        except Overloaded:
            break
    return held


async def count(places: Admission, tenant: str) -> int:
    """Return how many places a tenant gets now."""
    held = 0
    async with AsyncExitStack() as stack:
        while True:
            try:
                await stack.enter_async_context(places.place(tenant))
            except Overloaded:
                return held
            held += 1


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("places", "reserve", "alone"), [(1, 0, 1), (16, 0, 16), (2, 1, 1), (16, 2, 14), (8, 1, 7)])
async def test_a_tenant_alone_gets_all_but_the_reserve(places: int, reserve: int, alone: int) -> None:
    admission_control = Admission(places, reserve)
    for _ in range(2):
        assert await count(admission_control, "a") == alone


@pytest.mark.usefixtures("impatient")
async def test_the_reserve_goes_to_tenants_with_few_places() -> None:
    places = Admission(16, 2)
    async with await taken(places, "a"):
        assert await count(places, "a") == 0
        assert await count(places, "b") == 2
        async with places.place("b"):
            assert await count(places, "c") == 1
    assert await count(places, "a") == 14


async def test_a_free_place_goes_to_the_tenant_with_the_fewest() -> None:
    places, served = Admission(4, 1), list[str]()
    held = await taken(places, "a", 3)
    first_b = places.place("b")
    await first_b.__aenter__()

    async def work(tenant: str) -> None:
        async with places.place(tenant):
            served.append(tenant)
            await asyncio.sleep(0)

    waiting = [asyncio.create_task(work(tenant)) for tenant in ("a", "a", "a", "b", "c", "c")]
    await asyncio.sleep(0)
    await held.aclose()
    await asyncio.gather(*waiting)
    await first_b.__aexit__(None, None, None)
    assert served[0] == "c"
    assert sorted(served) == ["a", "a", "a", "b", "c", "c"]


async def test_requests_of_one_tenant_are_served_in_order() -> None:
    places, served = Admission(1), list[int]()

    async def work(number: int) -> None:
        async with places.place("a"):
            served.append(number)
            await asyncio.sleep(0)

    await asyncio.gather(*(work(number) for number in range(20)))
    assert served == list(range(20))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("turns", range(6))
async def test_a_cancelled_wait_loses_no_place(turns: int) -> None:
    """Cancelled in each turn of the event loop, also in the one in which the place comes free."""
    places = Admission(1)
    held = await taken(places, "a", 1)
    waiting = [asyncio.create_task(count(places, "a")) for _ in range(3)]
    await asyncio.sleep(0)
    closing = asyncio.create_task(held.aclose())
    for _ in range(turns):
        await asyncio.sleep(0)
    for task in waiting[:2]:
        task.cancel()
    await asyncio.gather(closing, *waiting, return_exceptions=True)
    assert await count(places, "a") == 1


@pytest.mark.usefixtures("impatient")
async def test_requests_that_give_up_leave_nothing_behind() -> None:
    places = Admission(2, 1)
    async with await taken(places, "a"):
        refused = await asyncio.gather(*(count(places, f"a{number % 3}") for number in range(30)))
    assert sum(refused) >= 1
    assert await count(places, "a") == 1
    assert places._waiting == {}
    assert not places._held


@pytest.mark.usefixtures("impatient")
async def test_taken_places_and_waiting_requests_are_counted() -> None:
    places = Admission(2)
    async with await taken(places, "a", 2):
        waiting = [asyncio.create_task(places.enter("b")) for _ in range(3)]
        await asyncio.sleep(0)
        assert (places.places, places.taken, places.waiting) == (2, 2, 3)
        await asyncio.gather(*waiting, return_exceptions=True)
        assert places.waiting == 0
    assert places.taken == 0
