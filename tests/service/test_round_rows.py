"""The rows of rounds: found by their number, and with entries that came later."""

import orjson

from app.workers import round_rows
from app.workers.entry import Entry

APPLIED = Entry("a", 1, "d1", fate="applied")


def row(step: int, **members: object) -> bytes:
    return orjson.dumps({"step": step, "loss": None, **members})


def of_round(step: int, version: int, **members: object) -> bytes:
    return row(step, contributions=round_rows.written([APPLIED]), digest="d", version=version, **members)


def test_the_row_of_a_round_is_the_one_that_stands() -> None:
    found = round_rows.read([of_round(3, 7, undone=True), of_round(3, 9), row(3, skipped=True)], 3)
    assert found is not None
    assert (found.version, found.digest, found.entries) == (9, "d", (APPLIED,))


def test_a_plain_step_is_no_round() -> None:
    assert round_rows.read([row(3), of_round(4, 9)], 3) is None


def test_a_row_gets_a_late_entry_and_keeps_the_rest() -> None:
    found = round_rows.read([of_round(3, 9)], 3)
    assert found is not None
    late = Entry("b", 2, "d2", fate="dropped", reason="late")
    replaced = found.with_entries([APPLIED, late])
    assert (replaced.step, replaced.version) == (3, 9)
    again = round_rows.read([replaced.body], 3)
    assert again is not None
    assert (again.entries, again.digest) == ((APPLIED, late), "d")


def test_the_step_of_an_older_number_is_found() -> None:
    def numbered(step: int, seq: int) -> bytes:
        return row(step, contributions=round_rows.written([Entry("a", 1, "d", fate="applied", seq=seq)]))

    rows = [numbered(3, 1), numbered(4, 2), row(5)]
    assert round_rows.step_of(rows, "a", 1) == 3
    assert round_rows.step_of(rows, "b", 1) is None


def test_the_newest_row_of_a_save_has_what_came_late() -> None:
    written, other = of_round(3, 9), of_round(3, 8)
    found = round_rows.read([written], 3)
    assert found is not None
    changed = found.with_entries([*found.entries, Entry("b", 2, "d2", fate="dropped", reason="late")]).body
    assert round_rows.newest([other, changed], written) == changed
    assert round_rows.newest([], written) == written
    assert round_rows.newest([other], b'{"step":3}') == b'{"step":3}'
