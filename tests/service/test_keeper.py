"""The keeper of deadlines: it closes rounds although nobody sends anything, by a clock that does not jump."""

import asyncio
from collections.abc import Iterable

import pytest

from app.contributions import keeper
from app.contributions.keeper import Keeper
from app.errors import StoreUnavailable
from app.store.ledger import Due
from app.store.memory import MemoryStore

HOUR = 3600.0


class Clocked(MemoryStore):
    """A store whose clock and deadlines a test sets; with no deadlines it is away."""

    def __init__(self) -> None:
        super().__init__(10)
        self.time = 1e9
        self.dues: Iterable[tuple[str, float]] | None = []

    async def now(self) -> float:
        return self.time

    async def due(self) -> list[Due]:
        if self.dues is None:
            raise StoreUnavailable("away")
        return [Due(*due) for due in self.dues]


class Closed:
    """The rounds that a keeper has closed."""

    def __init__(self, store: Clocked, *, is_near: bool = True) -> None:
        self.store = store
        self.here = 50.0
        self.names: list[str] = []
        self.fails = False
        self.came = asyncio.Event()
        self.keeper = Keeper(store, self.close, lambda _: is_near, lambda: self.here)

    async def close(self, due: Due) -> None:
        if self.fails:
            raise StoreUnavailable("away")
        self.names.append(due.session_id)
        self.came.set()

    async def look(self, seconds: float = 0.0, jump: float = 0.0) -> list[str]:
        """Let time go by, and the store's clock jump; return all that is closed by then."""
        self.here += seconds
        self.store.time += seconds + jump
        await self.keeper.look()
        await asyncio.sleep(0)
        return self.names


async def test_a_round_is_closed_when_it_is_due() -> None:
    closed = Closed(Clocked())
    closed.store.dues = [("a", 1e9 + 10), ("b", 1e9 + 20)]
    assert await closed.look() == []
    assert await closed.look(9.9) == []
    assert await closed.look(0.2) == ["a"]
    closed.store.dues = [("b", 1e9 + 20)]
    assert await closed.look(10) == ["a", "b"]


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_a_jump_of_the_clock_moves_no_deadline(jump: float) -> None:
    closed = Closed(Clocked())
    closed.store.dues = [("a", 1e9 + 10)]
    assert await closed.look() == []
    assert await closed.look(5, jump) == []
    assert await closed.look(5.1) == ["a"]


async def test_a_process_lets_the_one_with_the_state_close() -> None:
    closed = Closed(Clocked(), is_near=False)
    closed.store.dues = [("a", 1e9)]
    assert await closed.look() == []
    assert await closed.look(keeper.OTHERS_SECONDS) == ["a"]


async def test_a_deadline_that_was_kept_is_not_kept_each_time() -> None:
    closed = Closed(Clocked())
    closed.store.dues = [("a", 1e9)]
    for _ in range(3):
        assert await closed.look(keeper.AGAIN_SECONDS / 4) == ["a"]
    assert await closed.look(keeper.AGAIN_SECONDS) == ["a", "a"]


async def test_a_close_that_fails_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "RETRY_SECONDS", 0.0)
    closed = Closed(Clocked())
    closed.fails, closed.store.dues = True, [("a", 1e9)]
    assert await closed.look() == []
    closed.fails = False
    await asyncio.sleep(0.01)
    assert await closed.look() == ["a"]


async def test_a_store_that_comes_back_finds_its_keeper(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper, "LOOK_SECONDS", 0.001)
    closed = Closed(Clocked())
    closed.store.dues = None
    running = asyncio.create_task(closed.keeper.run())
    await asyncio.sleep(0.01)
    closed.store.dues = [("a", 1e9)]
    async with asyncio.timeout(10):
        await closed.came.wait()
    running.cancel()
    await closed.keeper.stop()
