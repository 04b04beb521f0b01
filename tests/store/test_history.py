"""The promises of every store about a session's history. These stores keep five rows."""

import pytest

from app.store.base import Head, Store
from app.store.history import HistoryRow
from tests.store.changes import change_of, row, saved


async def _recorded(store: Store, *rows: HistoryRow) -> Head:
    head = None
    for each in rows:
        head = await saved(store, head, row=each)
    assert head
    return head


async def test_rows_come_oldest_first_by_pages(store: Store) -> None:
    await _recorded(store, *(row(step) for step in (1, 2, 3, 4)))
    assert await store.history("session-1", 0, 2) == [b"row 1", b"row 2"]
    assert await store.history("session-1", 2, 2) == [b"row 3", b"row 4"]
    assert await store.history("session-1", 3, 2) == [b"row 4"]
    assert await store.history("session-1", 4, 2) == []
    assert await store.history("session-1", 10**30, 2) == []
    assert await store.history("session-1", 0, 0) == []


async def test_given_rows_are_those_of_the_history(store: Store) -> None:
    await _recorded(store, row(1), HistoryRow(2, lambda: b"late"), row(2, "a"), row(3))
    given = await store.given("session-1", 1, 1)
    assert [each if isinstance(each, bytes) else each.body for each in given] == [b"late", b"a"]
    assert await store.given("session-2", -1, 9) == []


async def test_rows_that_share_a_step_are_never_cut_apart(store: Store) -> None:
    await _recorded(store, row(1), row(2, "a"), row(2, "b"), row(2, "c"), row(3))
    assert await store.history("session-1", 0, 2) == [b"row 1", b"a", b"b", b"c"]
    assert await store.history("session-1", 1, 1) == [b"a", b"b", b"c"]
    assert await store.history("session-1", 1, 4) == [b"a", b"b", b"c", b"row 3"]
    assert await store.history("session-1", 2, 4) == [b"row 3"]


async def test_the_newest_rows_come_oldest_first(store: Store) -> None:
    assert await store.latest("session-1", 3) == []
    await _recorded(store, row(0, "skipped"), row(1), row(2, "a"), row(2, "b"), row(2, "c"))
    assert await store.latest("session-1", 1) == [b"c"]
    assert await store.latest("session-1", 2) == [b"b", b"c"]
    assert await store.latest("session-1", 4) == [b"row 1", b"a", b"b", b"c"]
    assert await store.latest("session-1", 10_000) == [b"skipped", b"row 1", b"a", b"b", b"c"]
    assert await store.latest("session-2", 3) == []


async def test_a_row_before_the_first_step_is_seen_from_below(store: Store) -> None:
    await _recorded(store, row(0, "skipped"), row(1))
    assert await store.history("session-1", -1, 10) == [b"skipped", b"row 1"]
    assert await store.history("session-1", -5, 1) == [b"skipped"]
    assert await store.history("session-1", 0, 10) == [b"row 1"]


@pytest.mark.parametrize("count", [5, 6, 7, 8, 30, 100])
async def test_old_rows_are_thinned_and_new_ones_stay(store: Store, count: int) -> None:
    await _recorded(store, *map(row, range(1, count + 1)))
    kept = [int(body.split()[1]) for body in await store.history("session-1", 0, 100)]
    assert len(kept) == 5
    assert kept[0] == 1
    assert kept[2:] == [count - 2, count - 1, count]


async def test_rows_after_a_step_can_be_forgotten(store: Store) -> None:
    head = await _recorded(store, row(1), row(2), row(3), row(4))
    head = await saved(store, head, row=row(3, "again"), forget_after=2)
    assert await store.history("session-1", 0, 10) == [b"row 1", b"row 2", b"again"]
    head = await saved(store, head, forget_after=0)
    assert await store.history("session-1", -1, 10) == []
    for step in range(10):
        head = await saved(store, head, row=row(step))
    assert await store.history("session-1", -1, 10) == [b"row 0", b"row 4", b"row 7", b"row 8", b"row 9"]


async def test_a_save_without_a_row_adds_none(store: Store) -> None:
    await saved(store, await _recorded(store, row(1)))
    assert await store.history("session-1", 0, 10) == [b"row 1"]


async def test_a_row_may_hold_any_bytes(store: Store) -> None:
    bodies = [b"", bytes(range(256)), b"x" * 5000]
    await _recorded(store, *(HistoryRow(1, body) for body in bodies))
    assert await store.history("session-1", 0, 10) == bodies


async def test_histories_of_sessions_are_apart(store: Store) -> None:
    for name in ("a", "aa", "b"):
        await saved(store, session_id=name, row=row(1, name))
    for name in ("a", "aa", "b"):
        assert await store.history(name, 0, 10) == [name.encode()]


async def test_rows_of_saves_that_come_twice_count_once(store: Store) -> None:
    head = None
    for step in range(1, 6):
        change = change_of(head, row=row(step))
        await store.save(change)
        await store.save(change)
        head = change.head
    assert await store.history("session-1", 0, 10) == [b"row 1", b"row 2", b"row 3", b"row 4", b"row 5"]
