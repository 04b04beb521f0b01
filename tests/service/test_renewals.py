"""The renewal of outlines while sessions train."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from app import curves, renewals
from app.compute import Compute
from app.curves import Curves, Plot
from app.errors import StoreUnavailable
from app.renewals import Renewals
from app.store.memory import MemoryStore
from tests.service.calls import W, create, serving, stepped
from tests.service.test_curves import SESSION, trained

EVERY = 50


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Renew an outline after few saves."""
    monkeypatch.setattr(renewals, "EVERY", EVERY)
    monkeypatch.setattr(curves, "KEPT_ROWS", 5)
    monkeypatch.setattr(curves, "SETTLED", 20)


class Noting(MemoryStore):
    """Notes when an outline is kept."""

    def __init__(self) -> None:
        super().__init__(100)
        self.is_kept = asyncio.Event()

    async def keep_outline(self, session_id: str, outline: bytes) -> None:
        await super().keep_outline(session_id, outline)
        self.is_kept.set()


@asynccontextmanager
async def running(renewing: Renewals) -> AsyncIterator[None]:
    """Run the renewals within the block."""
    task = asyncio.create_task(renewing.run())
    yield
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


class Failing(Curves):
    """Fails once."""

    has_failed = False

    async def plot(self, session_id: str, points: int) -> Plot:
        if not self.has_failed:
            self.has_failed = True
            raise StoreUnavailable("away")
        return await super().plot(session_id, points)


async def test_an_outline_is_renewed_every_so_many_saves() -> None:
    store = Noting()
    await trained(store, None, range(1, 60))
    renewing = Renewals(Curves(store, Compute(1)))
    async with running(renewing):
        for version in (EVERY - 1, None, EVERY + 1):
            renewing.wake(SESSION, version)
        await asyncio.sleep(0.05)
        assert not store.is_kept.is_set()
        renewing.wake(SESSION, EVERY)
        await asyncio.wait_for(store.is_kept.wait(), 30)


async def test_a_failure_does_not_end_the_renewals() -> None:
    store = Noting()
    await trained(store, None, range(1, 60))
    renewing = Renewals(Failing(store, Compute(1)))
    async with running(renewing):
        renewing.wake("session-2", EVERY)
        renewing.wake(SESSION, EVERY)
        await asyncio.wait_for(store.is_kept.wait(), 30)


def test_steps_of_the_service_renew_outlines() -> None:
    store = Noting()
    with serving(store) as client:
        session = create(client)
        for _ in range(EVERY):
            stepped(client, session, **W)
        assert any(store.is_kept.is_set() for _ in range(5000) if client.get("/livez"))
