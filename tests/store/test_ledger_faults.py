"""Faults at every call of a change of a ledger: head and ledger are then the old or the new ones, and a retry helps."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

from app.errors import StoreUnavailable
from app.store import lmdb_staging
from app.store.base import Head, Save, Store
from app.store.ledger import Ledger, LedgerSave
from tests.chaos.faulty_store import Fault, FaultyStore, faulty_store
from tests.store.changes import row, saved, state_of
from tests.store.ledgers import closing, ledger_change, ledger_saved, waiting
from tests.store.places import PLACES, Place, RedisPlace
from tests.stores import DURABLE, STORES

Change: TypeAlias = Save | LedgerSave

CHANGES: dict[str, tuple[Callable[[Head, Ledger], Change], int]] = {
    "small": (lambda _, ledger: ledger_change(ledger, [b"new"], due_at=2.0), 1),
    "large": (lambda _, ledger: ledger_change(ledger, [b"%d" % i for i in range(20)], due_at=2.0), 11),
    "close": (lambda head, ledger: closing(head, ledger, [b"new"], row=row(2)), 2),
}
"""The changes, each with a stride through the moments of LMDB. Redis has fewer, and each is tried."""


@dataclass(frozen=True)
class Seen:
    """The parts of a session that a store has."""

    head: Head | None
    ledger: Ledger | None
    waiting: list[bytes]
    rows: list[bytes]


async def seen(store: Store) -> Seen:
    head, ledger = await store.load("session-1"), await store.ledger("session-1")
    assert head
    await state_of(store, head)
    return Seen(head, ledger, await waiting(store, ledger) if ledger else [], await store.history("session-1", 0, 9))


@pytest.fixture(params=DURABLE)
async def faulty(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, redis_url: str, tmp_path: Path
) -> AsyncIterator[FaultyStore]:
    """Open each durable store in turn, with a place for a fault. A sweep removes leftovers at once."""
    monkeypatch.setattr(lmdb_staging, "STAGED_SECONDS", 0.0)
    async with faulty_store(STORES[request.param](tmp_path, lambda: redis_url)) as store:
        yield store


@pytest.mark.usefixtures("small_transactions")
@pytest.mark.parametrize("kind", ["failed", "cancelled"])
@pytest.mark.parametrize("name", CHANGES)
async def test_a_fault_at_any_call_leaves_old_or_new_ledger(faulty: FaultyStore, name: str, kind: str) -> None:
    place = PLACES[faulty.url.partition(":")[0]](faulty.url, faulty)
    make, stride = CHANGES[name]
    stride = 1 if isinstance(place, RedisPlace) else stride
    for at in range(1, 1000, stride):
        head = await saved(faulty, row=row(1))
        ledger = await ledger_saved(faulty, None, [b"old"], due_at=1.0)
        old, change = await seen(faulty), make(head, ledger)
        is_struck = await _hit(faulty, change, at, kind)
        found = await seen(faulty)
        assert found == old or (found.head, found.ledger) == _made(head, change)
        assert found.ledger
        assert found.ledger.due_at is None or ("session-1", found.ledger.due_at) in await faulty.due()
        await _save(faulty, change)
        found = await seen(faulty)
        assert (found.head, found.ledger) == _made(head, change)
        await _expect_no_leftovers(place, found)
        await faulty.delete("session-1")
        assert await place.pieces("session-1") == {} or isinstance(place, RedisPlace)
        if not is_struck:
            break
    assert at > 2 * stride
    if isinstance(place, RedisPlace):
        place.client.close()


async def _save(store: Store, change: Change) -> None:
    await (store.save(change) if isinstance(change, Save) else store.save_ledger(change))


def _made(head: Head, change: Change) -> tuple[Head, Ledger | None]:
    if isinstance(change, LedgerSave):
        return head, change.ledger
    return change.head, change.ledger and change.ledger.ledger


async def _hit(store: FaultyStore, change: Change, at: int, kind: str) -> bool:
    """Make the change with a fault at the n-th moment; return whether that came."""
    loop, task = asyncio.get_running_loop(), asyncio.create_task(_save(store, change))
    strike = store.fail if kind == "failed" else lambda: loop.call_soon_threadsafe(task.cancel)
    store.fault = fault = Fault(at, strike)
    with suppress(asyncio.CancelledError, StoreUnavailable):
        await task
    store.fault = None
    return fault.struck is not None


async def _expect_no_leftovers(place: Place, found: Seen) -> None:
    """Assert that all pieces are named by head or ledger, or will expire."""
    assert found.head
    assert found.ledger
    await place.store.sweep()
    named = {piece.name for piece in (*found.head.kept, *found.ledger.pieces)}
    left = set(await place.pieces("session-1")) - named
    if isinstance(place, RedisPlace):
        left = {name for name in left if place.client.pttl(f"optim:{{session-1}}:piece:{name}") <= 0}
    assert not left
