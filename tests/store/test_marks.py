"""The promises of every store about the marks of a session, and about rows and marks by their numbers."""

from itertools import pairwise

import pytest

from app.store.base import Head, Store
from app.store.generation import MOST_UNDO
from app.store.history import MOST_MARKS, HistoryRow, Mark, Numbered
from tests.store.changes import change_of, mark, row, saved


async def _numbers(store: Store, version: int, limit: int = 100) -> list[int]:
    return [each.number for each in await store.newer("session-1", version, limit)]


async def _recorded(store: Store, *saves: HistoryRow | Mark) -> Head:
    """Save rows and marks, as versions 1, 2, 3, …"""
    head = None
    for each in saves:
        is_row = isinstance(each, HistoryRow)
        head = await saved(store, head, row=each if is_row else None, mark=None if is_row else each)
    assert head
    return head


async def test_rows_and_marks_come_in_the_order_of_their_numbers(store: Store) -> None:
    await _recorded(store, row(1), row(2), mark("undone", "undo"), row(2, "again"), mark("changed"))
    assert await store.newer("session-1", 0, 10) == [
        Numbered(1, "step", b"row 1"),
        Numbered(2, "step", b"row 2"),
        Numbered(3, "undo", b"undone"),
        Numbered(4, "step", b"again"),
        Numbered(5, "settings", b"changed"),
    ]
    assert await _numbers(store, 2) == [3, 4, 5]
    assert await _numbers(store, 2, limit=2) == [3, 4]
    assert await _numbers(store, 5) == []
    assert await _numbers(store, 0, limit=0) == []
    assert await store.marks("session-1") == [b"undone", b"changed"]


async def test_a_session_without_rows_has_marks(store: Store) -> None:
    await _recorded(store, mark("a"), mark("b"))
    assert await _numbers(store, 0) == [1, 2]
    assert await _numbers(store, 1) == [2]
    assert await store.marks("session-1") == [b"a", b"b"]


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
async def test_pages_leave_nothing_out_when_steps_were_undone(store: Store, limit: int) -> None:
    store.history_limit = 1000
    steps = [*range(1, 41), 24, *range(25, 60), *range(44, 50), *range(49, 53), 52, 52, 52, 53]
    assert max(high - low for high, low in pairwise(steps)) == MOST_UNDO
    await _recorded(store, *map(row, steps))
    for version in (0, 1, 39, 40, 41, 76, len(steps) - 1):
        seen = [version]
        while page := await _numbers(store, seen[-1], limit):
            seen += page
        assert seen == list(range(version, len(steps) + 1))


async def test_many_rows_of_one_step_are_paged_too(store: Store) -> None:
    store.history_limit = 1000
    await _recorded(store, *map(row, [1, 2, *[3] * 200, 4, 5]))
    assert await _numbers(store, 0, limit=3) == [1, 2, 3]
    assert await _numbers(store, 150, limit=2) == [151, 152]
    assert await _numbers(store, 201) == [202, 203, 204]


@pytest.mark.long
async def test_only_the_newest_marks_are_kept(store: Store) -> None:
    head = await saved(store)
    for i in range(MOST_MARKS + 2):
        head = await saved(store, head, mark=mark(f"{i}"))
    kept = await store.marks("session-1")
    assert kept == [b"%d" % i for i in range(2, MOST_MARKS + 2)]
    assert await _numbers(store, MOST_MARKS + 1) == [MOST_MARKS + 2, MOST_MARKS + 3]


async def test_a_mark_may_hold_any_bytes(store: Store) -> None:
    bodies = [b"", bytes(range(256)), b" a b\n" * 1000]
    await _recorded(store, *(Mark("undo", body) for body in bodies))
    assert await store.marks("session-1") == bodies
    assert [each.body for each in await store.newer("session-1", 0, 10)] == bodies


async def test_marks_of_sessions_are_apart(store: Store) -> None:
    for name in ("a", "aa", "b"):
        await saved(store, session_id=name, mark=mark(name))
    for name in ("a", "aa", "b"):
        assert await store.marks(name) == [name.encode()]


async def test_a_mark_of_a_save_that_comes_twice_counts_once(store: Store) -> None:
    change = change_of(None, mark=mark("once"))
    await store.save(change)
    await store.save(change)
    assert await store.marks("session-1") == [b"once"]


async def test_marks_go_with_their_session(store: Store) -> None:
    await saved(store, row=row(1), mark=mark("gone"))
    await store.delete("session-1")
    assert await store.marks("session-1") == await store.newer("session-1", 0, 10) == []
    await saved(store, row=row(1, "new"))
    assert await store.newer("session-1", 0, 10) == [Numbered(1, "step", b"new")]
    assert await store.marks("session-1") == []


async def test_a_refused_save_leaves_no_mark(store: Store) -> None:
    head = await saved(store)
    await saved(store, head)
    with pytest.raises(Exception, match="session-1"):
        await saved(store, head, mark=mark("refused"))
    assert await store.marks("session-1") == []
