"""The promises of every store about ledgers: they change without the head, and together with it."""

import asyncio
import time
from dataclasses import replace

import pytest

from app.errors import StateDamaged
from app.store.base import Store, new_token
from app.store.generation import ReplacedRow
from app.store.ledger import Ledger, LedgerSave
from app.store.stamp import VersionConflict
from tests.store.changes import DAY, change_of, row, saved, state_of
from tests.store.ledgers import closing, ledger_change, ledger_saved, waiting
from tests.store.places import Place, second_store

MANY = [b"%d" % i for i in range(40)]
"""The pieces of a contribution that is staged."""


def test_a_save_knows_its_obsolete_pieces() -> None:
    first = ledger_change(None, [b"stays", b"goes"])
    assert ledger_change(first.ledger, kept=first.ledger.pieces[:1]).obsolete == [first.ledger.pieces[1]]
    assert first.obsolete == []


async def test_a_saved_ledger_is_read_back_and_leaves_the_head(store: Store) -> None:
    head = await saved(store)
    assert await store.ledger("session-1") is None
    ledger = await ledger_saved(store, None, [b"one", b"", b"three"], document=b"\x00\n\xff", due_at=1.5)
    assert await store.ledger("session-1") == ledger
    assert await waiting(store, ledger) == [b"one", b"", b"three"]
    assert await store.contents(ledger, ledger.pieces[2:]) == [b"three"]
    ledger = await ledger_saved(store, ledger, [b"four"], kept=ledger.pieces[1:])
    assert await store.ledger("session-1") == ledger
    assert await waiting(store, ledger) == [b"", b"three", b"four"]
    assert await store.load("session-1") == head
    assert await state_of(store, head) == b"onetwo"


async def test_a_large_contribution_is_whole(place: Place) -> None:
    await saved(place.store)
    ledger = await ledger_saved(place.store, await ledger_saved(place.store, None, [b"first"]), MANY)
    assert await waiting(place.store, ledger) == [b"first", *MANY]
    await ledger_saved(place.store, ledger, kept=())
    assert sorted((await place.pieces("session-1")).values()) == [b"one", b"two"]


@pytest.mark.parametrize("parts", [(), MANY], ids=["small", "large"])
async def test_a_ledger_of_no_session_is_refused(place: Place, parts: list[bytes]) -> None:
    await saved(place.store, expires_at=time.time() - 1)
    for _ in range(2):
        with pytest.raises(VersionConflict):
            await ledger_saved(place.store, None, parts)
        await place.store.sweep()
    await place.store.delete("nobody")
    assert await place.store.ledger("session-1") is None
    assert await place.pieces("session-1") == {}
    assert await place.store.due() == []


@pytest.mark.parametrize("parts", [[b"late"], MANY], ids=["small", "large"])
async def test_a_ledger_from_another_one_is_refused_whole(place: Place, parts: list[bytes]) -> None:
    store = place.store
    await saved(store)
    first = await ledger_saved(store, None, [b"one"], due_at=7.0)
    second = await ledger_saved(store, first, [b"two"])
    lost = replace(second, token=new_token())
    for previous in (None, first, lost):
        with pytest.raises(VersionConflict):
            await ledger_saved(store, previous, parts, due_at=5.0)
    for stale in (first, lost):
        with pytest.raises(VersionConflict):
            await store.contents(stale, stale.pieces)
    await store.delete("nobody")
    assert await store.ledger("session-1") == second
    assert sorted((await place.pieces("session-1")).values()) == [b"one", b"one", b"two", b"two"]
    assert await store.due() == []


@pytest.mark.parametrize("parts", [[b"two"], MANY], ids=["small", "large"])
async def test_a_ledger_that_comes_twice_is_saved_once(store: Store, parts: list[bytes]) -> None:
    await saved(store, row=row(1))
    first = ledger_change(None, [b"one"])
    second = ledger_change(first.ledger, parts, replaced=[ReplacedRow(1, 1, b"late")], due_at=9.0)
    for change in (first, first, second, second):
        await store.save_ledger(change)
    assert await store.ledger("session-1") == second.ledger
    assert await waiting(store, second.ledger) == [b"one", *parts]
    assert await store.history("session-1", 0, 9) == [b"late"]
    assert await store.due() == [("session-1", 9.0)]
    with pytest.raises(VersionConflict):
        await store.save_ledger(first)


async def test_one_of_many_contributions_from_one_ledger_wins(place: Place) -> None:
    await saved(place.store)
    first = await ledger_saved(place.store)
    changes = [ledger_change(first, [b"by %d" % i], due_at=float(i)) for i in range(40)]
    async with second_store(place) as other:
        outcomes = await asyncio.gather(*map(_tried, [place.store, other] * 20, changes))
        assert outcomes.count(True) == 1
        winner = changes[outcomes.index(True)].ledger
        assert await place.store.ledger("session-1") == await other.ledger("session-1") == winner
        assert await place.store.due() == [("session-1", winner.due_at)]
    assert set(await place.pieces("session-1")) >= {piece.name for piece in winner.pieces}
    assert len(await place.pieces("session-1")) == 3


async def _tried(store: Store, change: LedgerSave) -> bool:
    try:
        await store.save_ledger(change)
    except VersionConflict:
        return False
    return True


async def test_head_and_ledger_change_together(place: Place) -> None:
    store = place.store
    head = await saved(store, row=row(1))
    ledger = await ledger_saved(store, None, [b"a", b"b"], due_at=3.0)
    late = ReplacedRow(1, 1, b"row 1, late")
    change = closing(head, ledger, [b"new"], row=row(2))
    assert change.ledger
    change = replace(change, ledger=replace(change.ledger, replaced=(late,)))
    for _ in range(2):
        await store.save(change)
    assert await store.load("session-1") == change.head
    assert await store.ledger("session-1") == change.ledger.ledger
    assert await store.history("session-1", 0, 9) == [b"row 1, late", b"row 2"]
    assert await store.due() == []
    assert list((await place.pieces("session-1")).values()) == [b"new"]
    await ledger_saved(store, change.ledger.ledger, [b"c"])
    await store.save(change)
    assert sorted((await place.pieces("session-1")).values()) == [b"c", b"new"]


async def test_neither_changes_if_either_has_moved_on(place: Place) -> None:
    store = place.store
    head, ledger = await saved(store), await ledger_saved(store, None, [b"a"])
    contributed = await ledger_saved(store, ledger, [b"b"])
    with pytest.raises(VersionConflict):
        await store.save(closing(head, ledger, [b"new"], row=row(1)))
    assert await store.load("session-1") == head
    patched = await saved(store, head, document=b"patched")
    with pytest.raises(VersionConflict):
        await store.save(closing(head, contributed, [b"new"], row=row(1)))
    assert await store.load("session-1") == patched
    assert await store.ledger("session-1") == contributed
    assert await waiting(store, contributed) == [b"a", b"b"]
    assert await state_of(store, patched) == b"onetwo"
    assert await store.history("session-1", 0, 9) == []


async def test_a_save_with_a_ledger_may_write_pieces_of_both(place: Place) -> None:
    head, ledger = await saved(place.store), await ledger_saved(place.store, None, [b"a"])
    save = replace(change_of(head, [b"new"]), ledger=ledger_change(ledger, MANY, due_at=2.0))
    await place.store.save(save)
    assert save.ledger
    assert await waiting(place.store, save.ledger.ledger) == [b"a", *MANY]
    assert await state_of(place.store, save.head) == b"new"
    assert await place.store.due() == [("session-1", 2.0)]


async def test_a_session_may_begin_with_a_ledger(store: Store) -> None:
    change = replace(change_of(None), ledger=ledger_change(None, [b"a"]))
    await store.save(change)
    assert change.ledger
    assert await waiting(store, change.ledger.ledger) == [b"a"]


async def test_a_row_that_is_gone_is_not_replaced(store: Store) -> None:
    head = await saved(store, row=row(1))
    await saved(store, head, row=row(2))
    gone = [ReplacedRow(1, 2, b"x"), ReplacedRow(9, 9, b"y"), ReplacedRow(2, 2, b"z")]
    await ledger_saved(store, replaced=gone)
    assert await store.history("session-1", 0, 9) == [b"row 1", b"z"]


async def test_all_ledgers_with_a_time_are_due(store: Store) -> None:
    for name, due_at in (("a", None), ("b", 1.0), ("c", 1e9), ("d", time.time() - 3600)):
        await saved(store, session_id=name)
        ledger = await ledger_saved(store, session_id=name, due_at=due_at)
    assert {found.session_id for found in await store.due()} == {"b", "c", "d"}
    await store.sweep()
    assert ("d", ledger.due_at) in await store.due()
    ledger = await ledger_saved(store, ledger, due_at=5.0)
    await store.delete("b")
    assert sorted(await store.due()) == [("c", 1e9), ("d", 5.0)]
    await ledger_saved(store, ledger)
    assert await store.due() == [("c", 1e9)]


async def test_a_stores_clock_goes_on(store: Store) -> None:
    before = await store.now()
    assert abs(before - time.time()) < 60
    assert before <= await store.now() < before + 60


@pytest.mark.parametrize("damaged", [None, b"spoilt", b"tw"])
async def test_a_waiting_piece_that_differs_is_refused(place: Place, damaged: bytes | None) -> None:
    await saved(place.store)
    ledger = await ledger_saved(place.store, None, [b"one", b"two"])
    await place.put_piece("session-1", ledger.pieces[1].name, damaged)
    with pytest.raises(StateDamaged, match=ledger.pieces[1].name):
        await place.store.contents(ledger, ledger.pieces)
    assert await place.store.contents(ledger, ledger.pieces[:1]) == [b"one"]


async def test_a_ledger_dies_with_its_session(place: Place) -> None:
    store = place.store
    head = await saved(store)
    ledger = await ledger_saved(store, None, [b"a"], due_at=1.0)
    assert await store.delete("session-1", head.stamp) is True
    await _expect_gone(place, ledger)
    await saved(store)
    assert await store.ledger("session-1") is None
    assert await ledger_saved(store, due_at=2.0)
    assert await store.due() == [("session-1", 2.0)]


async def test_a_ledger_expires_when_its_session_does(place: Place) -> None:
    store, soon = place.store, time.time() + 0.4
    ledgers: dict[str, Ledger] = {}
    for name, expires_at in (("now", soon), ("later", time.time() + DAY), ("never", None)):
        head = await saved(store, session_id=name, expires_at=soon)
        ledgers[name] = await ledger_saved(store, None, [b"a"], session_id=name)
        if name == "now":
            closed = closing(head, ledgers[name])
        else:
            if name == "later":
                head = await saved(store, head, expires_at=expires_at)
            change = ledger_change(ledgers[name], [b"b"])
            await store.save(replace(change_of(head, expires_at=expires_at), ledger=change))
            ledgers[name] = change.ledger
    await asyncio.sleep(0.45)
    await _expect_gone(place, ledgers["now"])
    with pytest.raises(VersionConflict):
        await store.save(closed)
    await store.sweep()
    assert await place.pieces("now") == {}
    for name in ("later", "never"):
        assert await waiting(store, ledgers[name]) == [b"a", b"b"]


async def _expect_gone(place: Place, ledger: Ledger) -> None:
    assert await place.store.ledger(ledger.session_id) is None
    with pytest.raises(VersionConflict):
        await place.store.contents(ledger, ledger.pieces)
    with pytest.raises(VersionConflict):
        await ledger_saved(place.store, ledger)


async def test_the_name_of_an_expired_session_starts_without_a_ledger(place: Place) -> None:
    head = await saved(place.store)
    await ledger_saved(place.store, None, [b"old"], due_at=1.0)
    await saved(place.store, head, expires_at=time.time() - 1)
    assert await place.store.ledger("session-1") is None
    head = await saved(place.store)
    assert await place.store.ledger("session-1") is None
    ledger = await ledger_saved(place.store, None, [b"new"])
    assert await waiting(place.store, ledger) == [b"new"]
    assert len(await place.pieces("session-1")) == 3


async def test_contributions_and_a_delete_at_once_leave_all_or_nothing(place: Place) -> None:
    for _ in range(8):
        await saved(place.store)
        first = await ledger_saved(place.store)
        changes = [ledger_change(first, [b"%d" % i]) for i in range(3)]
        await asyncio.gather(
            *(_tried(place.store, change) for change in changes[:2]),
            place.store.delete("session-1"),
            _tried(place.store, changes[2]),
        )
        assert await place.pieces("session-1") == {}
        assert await place.store.ledger("session-1") is None
