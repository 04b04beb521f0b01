"""Lent savings with pieces on their way."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from app.errors import StoreUnavailable
from app.store.base import Head, Save, Saving, Store
from app.store.piece import Part
from tests.store.changes import change_of, row, state_of
from tests.store.places import Place

MIB = 1 << 20


@asynccontextmanager
async def begun(store: Store, save: Save, parts: Sequence[Part] | None = None) -> AsyncIterator[Saving]:
    """Lend a saving with the fresh pieces, or some of them, on their way."""
    async with store.saving(save.head.session_id, save.head.token, save.previous) as saving:
        for part in save.fresh if parts is None else parts:
            saving.write(part)
        await asyncio.sleep(0)  # the event loop hears of it
        yield saving


async def settled(place: Place) -> None:
    """Wait until the store has done all its jobs."""
    await place.store.delete("nobody")


async def written_and_refused(place: Place, head: Head, match: str) -> None:
    change = change_of(head, [b"%d" % i * MIB for i in range(12)], row=row(1))
    async with begun(place.store, change) as saving:
        with pytest.raises(StoreUnavailable, match=match):
            await saving.save(change)
    assert await place.store.load("session-1") == head
    assert await state_of(place.store, head) == b"onetwo"
    assert await place.store.history("session-1", 0, 10) == []
