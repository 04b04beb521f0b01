"""The promises of every store about the outline of a session's history."""

import asyncio
import time

from app.store.base import Store
from tests.store.changes import DAY, row, saved
from tests.store.test_expiry import MARGIN, SOON


async def test_an_outline_is_kept_until_the_next_one(store: Store) -> None:
    head = await saved(store, row=row(1))
    assert await store.outline("session-1") is None
    for outline in (b"first" * 100_000, b"\x00\n", b""):
        await store.keep_outline("session-1", outline)
        head = await saved(store, head, row=row(2))
        assert await store.outline("session-1") == outline
    assert await store.outline("session-2") is None


async def test_an_outline_goes_with_its_session(store: Store) -> None:
    await saved(store)
    await store.keep_outline("session-1", b"outline")
    await store.delete("session-1")
    assert await store.outline("session-1") is None
    await store.keep_outline("session-1", b"late")
    await saved(store)
    assert await store.outline("session-1") is None


async def test_an_outline_expires_with_its_session(store: Store) -> None:
    head = await saved(store)
    await store.keep_outline("session-1", b"outline")
    await saved(store, head, expires_at=time.time() + SOON)
    await saved(store, session_id="session-2", expires_at=time.time() + SOON)
    await store.keep_outline("session-2", b"outline")
    await asyncio.sleep(SOON + MARGIN)
    await store.sweep()
    await saved(store)
    await saved(store, session_id="session-2")
    assert await store.outline("session-1") is await store.outline("session-2") is None


async def test_a_save_delays_the_expiry_of_the_outline(store: Store) -> None:
    heads = [await saved(store, session_id=name, expires_at=time.time() + SOON) for name in ("session-1", "session-2")]
    for head, expires_at in zip(heads, (time.time() + DAY, None), strict=True):
        await store.keep_outline(head.session_id, b"outline")
        await saved(store, head, expires_at=expires_at)
    await asyncio.sleep(SOON + MARGIN)
    assert await store.outline("session-1") == await store.outline("session-2") == b"outline"
