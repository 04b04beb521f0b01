"""The memory of bodies that come in: a bound for all together, and who is let go where it is reached."""

import asyncio

from app.errors import Overloaded
from app.web.body_memory import Arrival, BodyMemory


class Bodies:
    """Bodies that come as a test says."""

    def __init__(self, limit: int) -> None:
        self.now = 0.0
        self.memory = BodyMemory(limit, lambda: self.now)
        self.tasks: dict[str, asyncio.Task[str]] = {}
        self.arrivals: dict[str, Arrival] = {}
        self._whole: dict[str, asyncio.Event] = {}
        self._done = asyncio.Event()

    async def begin(self, name: str, tenant: str = "a") -> None:
        self._whole[name] = asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._body(name, tenant))
        await asyncio.sleep(0)

    async def _body(self, name: str, tenant: str) -> str:
        with self.memory.arrival(tenant) as arrival:
            self.arrivals[name] = arrival
            await arrival.read(self._whole[name].wait())
            await self._done.wait()
        return name

    async def whole(self, name: str) -> None:
        self._whole[name].set()
        for _ in range(3):
            await asyncio.sleep(0)
        assert self.arrivals[name].is_whole

    async def end(self) -> set[str]:
        """Return the names of the bodies that were not let go."""
        for whole in self._whole.values():
            whole.set()
        self._done.set()
        results = await asyncio.gather(*self.tasks.values(), return_exceptions=True)
        assert all(isinstance(result, (str, Overloaded)) for result in results)
        assert self.memory.nbytes == 0
        assert not self.memory._arrivals
        return {result for result in results if isinstance(result, str)}


async def test_bodies_that_fit_are_kept() -> None:
    bodies = Bodies(100)
    for name in "abcde":
        await bodies.begin(name)
        bodies.arrivals[name].grow(20)
    assert await bodies.end() == set("abcde")


async def test_the_slowest_body_is_dropped() -> None:
    bodies = Bodies(100)
    for name in ("slow", "quick"):
        await bodies.begin(name)
    for _ in range(4):
        bodies.now += 1
        bodies.arrivals["slow"].grow(5)
        bodies.arrivals["quick"].grow(20)
    bodies.arrivals["quick"].grow(20)
    assert await bodies.end() == {"quick"}


async def test_a_quick_body_that_stalls_becomes_slow() -> None:
    bodies = Bodies(100)
    for name in ("stalled", "steady"):
        await bodies.begin(name)
    bodies.arrivals["stalled"].grow(80)
    for _ in range(10):
        bodies.now += 1
        bodies.arrivals["steady"].grow(3)
    assert await bodies.end() == {"steady"}


async def test_a_burst_of_bodies_does_not_drop_quick_ones() -> None:
    bodies = Bodies(100)
    await bodies.begin("steady")
    for _ in range(3):
        bodies.now += 1
        bodies.arrivals["steady"].grow(20)
    for number in range(100):
        bodies.now += 0.01
        await bodies.begin(f"new {number}")
        bodies.arrivals[f"new {number}"].grow(1)
    left = await bodies.end()
    assert "steady" in left
    assert len(left) == 41


async def test_a_new_body_has_the_rate_of_its_first_bytes() -> None:
    bodies = Bodies(100)
    await bodies.begin("stalled")
    bodies.arrivals["stalled"].grow(95)
    bodies.now += 1.5
    await bodies.begin("new")
    bodies.arrivals["new"].grow(10)
    assert await bodies.end() == {"new"}


async def test_the_tenant_that_holds_the_most_loses_first() -> None:
    bodies = Bodies(100)
    for name, tenant, nbytes in (("whole", "greedy", 50), ("quick", "greedy", 30), ("slow", "modest", 10)):
        await bodies.begin(name, tenant)
        bodies.arrivals[name].grow(nbytes)
    await bodies.whole("whole")
    bodies.arrivals["slow"].grow(20)
    assert await bodies.end() == {"whole", "slow"}


async def test_a_whole_body_is_never_dropped() -> None:
    bodies = Bodies(100)
    await bodies.begin("whole")
    bodies.arrivals["whole"].grow(90)
    await bodies.whole("whole")
    bodies.now += 100
    await bodies.begin("quick")
    bodies.arrivals["quick"].grow(90)
    assert await bodies.end() == {"whole"}


async def test_a_body_without_bytes_is_never_dropped() -> None:
    bodies = Bodies(100)
    for name in ("nothing", "one", "two"):
        await bodies.begin(name)
    bodies.arrivals["one"].grow(80)
    bodies.arrivals["two"].grow(30)
    assert await bodies.end() == {"nothing", "one"}


async def test_the_bytes_of_a_dropped_body_no_longer_count() -> None:
    bodies = Bodies(100)
    await bodies.begin("gone")
    bodies.arrivals["gone"].grow(101)
    bodies.arrivals["gone"].grow(1000)
    await bodies.begin("next")
    bodies.arrivals["next"].grow(100)
    assert await bodies.end() == {"next"}
