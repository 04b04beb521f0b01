"""The history of a session in memory."""

from app.store.generation import ReplacedRow
from app.store.history import HistoryRow
from app.store.memory_history import History


def history(*steps: int, limit: int = 9) -> History:
    """Return a history of rows of these steps, which versions 1, 2, 3, … wrote."""
    rows = History()
    for version, step in enumerate(steps, 1):
        rows.add(HistoryRow(step, b"%d by %d" % (step, version)), version, limit)
    return rows


def test_the_first_and_the_newest_rows_stay_beyond_the_limit() -> None:
    assert history(1, 2, 3, limit=2).latest(9) == [b"1 by 1", b"3 by 3"]


def test_a_page_ends_with_all_rows_of_its_last_step() -> None:
    page = history(1, 2, 2, 3).after(0, 2)
    assert [row.body for row in page] == [b"1 by 1", b"2 by 2", b"2 by 3"]


def test_an_undo_marks_the_row_that_its_version_wrote() -> None:
    rows = history(1, 2, 2)
    rows.replace([ReplacedRow(2, 3, b"undone"), ReplacedRow(2, 9, b"never seen")])
    assert rows.latest(9) == [b"1 by 1", b"2 by 2", b"undone"]


def test_a_step_that_is_taken_again_stays_in_order() -> None:
    rows = history(1, 2, 3)
    rows.add(HistoryRow(2, b"2 by 4"), 4, 9)
    assert rows.latest(9) == [b"1 by 1", b"2 by 2", b"2 by 4", b"3 by 3"]
