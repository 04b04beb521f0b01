"""The rows of a session's history in memory."""

from app.store.history import HistoryRow
from app.store.memory_rows import Row, Rows


def rows_of(*places: tuple[int, int], limit: int = 100) -> Rows:
    rows = Rows()
    for place in places:
        rows.put(Row(*place, HistoryRow(place[0], b"")))
        rows.thin(limit)
    return rows


def places(rows: Rows) -> list[tuple[int, int]]:
    return [row[:2] for row in rows.between(0, len(rows))]


def test_rows_are_put_at_their_places_in_both_halves() -> None:
    rows = rows_of(*((step, step) for step in range(1, 12)), limit=8)
    assert places(rows) == [(step, step) for step in (1, 2, 4, 6, 8, 9, 10, 11)]
    for step in (2, 6, 8):
        rows.put(Row(step, 20, HistoryRow(step, b"")))
    assert places(rows) == sorted(places(rows))
    assert {(2, 20), (6, 20), (8, 20)} < set(places(rows))
    assert [rows[rank][:2] for rank in range(len(rows))] == places(rows)
    assert [rows.rank(*place) for place in places(rows)] == list(range(len(rows)))


def test_a_row_at_a_known_place_replaces_it() -> None:
    rows = rows_of(*((step, step) for step in range(1, 12)), limit=8)
    for step in (4, 10):
        rows.put(Row(step, step, HistoryRow(step, b"new")))
    assert len(rows) == 8
    assert [rows[rows.rank(step)].given.body for step in (4, 10)] == [b"new", b"new"]


def test_what_is_cut_is_gone_from_both_halves() -> None:
    for rank in range(9):
        rows = rows_of(*((step, step) for step in range(1, 12)), limit=8)
        left = places(rows)[:rank]
        rows.cut(rank)
        assert places(rows) == left
        rows.put(Row(50, 50, HistoryRow(50, b"")))
        assert places(rows) == [*left, (50, 50)]


def test_rows_that_left_are_not_kept_in_memory() -> None:
    rows = rows_of(*((step, step) for step in range(1, 500)), limit=8)
    assert len(rows._newer) <= 8
