"""Looks at the room in the store: rare, and nobody waits for a store that is away."""

import asyncio
import time

import pytest

from app import occupancy
from app.errors import StoreUnavailable
from app.occupancy import Occupancy
from app.store.memory import MemoryStore
from app.store.usage import Usage


class Looked(MemoryStore):
    """A store with a session more at each look; it may be away, or hang."""

    def __init__(self) -> None:
        super().__init__(10)
        self.looks = 0
        self.is_away = self.hangs = False

    async def usage(self) -> Usage:
        self.looks += 1
        if self.hangs:
            await asyncio.sleep(60)
        if self.is_away:
            raise StoreUnavailable("away")
        return Usage(self.looks)


async def test_looks_are_rare_however_many_ask() -> None:
    store = Looked()
    looked = Occupancy(store)
    assert looked.usage is None
    await asyncio.gather(*(looked.refresh() for _ in range(5)))
    await looked.refresh()
    assert (looked.usage, store.looks) == (Usage(1), 1)


async def test_a_store_that_is_away_has_no_known_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occupancy, "FRESH_SECONDS", 0.02)
    store = Looked()
    looked = Occupancy(store)
    await looked.refresh()
    assert looked.usage == Usage(1)
    await asyncio.sleep(0.05)
    assert looked.usage is None
    store.is_away = True
    await looked.refresh()
    assert (looked.usage, store.looks) == (None, 2)


async def test_nobody_waits_for_a_store_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occupancy, "PATIENCE_SECONDS", 0.05)
    store = Looked()
    store.hangs = True
    looked, began = Occupancy(store), time.monotonic()
    await looked.refresh()
    await looked.refresh()
    assert (looked.usage, store.looks) == (None, 1)
    assert time.monotonic() - began < 5
