"""The benchmarks' promises and their table."""

import pytest

from benchmarks.table import ROWS, Result, Row, promises, results, shown

ROW = Row("work", "other", 0.5, "group", 1000, "this", "that")


def measured(this: float, that: float) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    return {"group": {"1000": {"this": {"median": this}, "that": {"median": that}}}}


@pytest.mark.parametrize(("this", "verdict"), [(4.9, "yes"), (5.0, "yes"), (5.1, "**no**")])
def test_a_promise_is_kept_up_to_its_ratio(this: float, verdict: str) -> None:
    (result,) = results((ROW,), measured(this, 10))
    assert result
    assert (result.ratio, result.verdict) == (this / 10, verdict)


def test_a_missing_measurement_is_shown() -> None:
    assert list(results((ROW,), {})) == [None]
    assert all(row[-1] == "not measured" for row in promises({})[1:])


def test_a_row_without_a_promise_has_no_verdict() -> None:
    assert Result(Row("work", "other", None, "group", 1000, "this", "that"), 1, 2).verdict == ""


def test_the_promises_are_unchanged() -> None:
    targets = [1.25, 0.60, 1.00, 0.90, 1.60, 1.30, 1.15, 0.60, 1.05, 1.05, 0.80, 0.10, 3.0, 1.2]
    assert [row.at_most for row in ROWS] == targets


def test_numbers_are_shown_with_about_three_digits() -> None:
    assert [shown(number) for number in (0.1234, 12.34, 123.4, 12345.6)] == ["0.12", "12.3", "123", "12,346"]
