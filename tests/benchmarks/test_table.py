"""The benchmarks' promises and their table."""

from typing import Any

import pytest

from benchmarks.table import (
    BESIDE,
    NOT_MEASURED,
    ROWS,
    Result,
    Row,
    comparisons,
    growth,
    promises,
    results,
    shown,
    verdict,
)

ROW = Row("work", "other", "group", 1000, "this", "that", at_most=0.5)
SUM = Row("work", "a file, plus the echo", "group", 1000, "this", "that", plus="more", at_most=0.5)
RATE = Row("work", "other", "connections", 1000, "this", "that", at_least=0.2)


def measured(group: str = "group", **medians: float) -> dict[str, Any]:
    return {group: {"1000": {name: {"median": median} for name, median in medians.items()}}}


@pytest.mark.parametrize(("this", "kept"), [(4.9, True), (5.0, True), (5.1, False)])
def test_a_promise_is_kept_up_to_its_ratio(this: float, kept: bool) -> None:
    (result,) = results((ROW,), measured(this=this, that=10))
    assert result
    assert (result.ratio, result.is_kept) == (this / 10, kept)


@pytest.mark.parametrize(("this", "kept"), [(1900, False), (2000, True), (9000, True)])
def test_a_promise_of_requests_has_a_lower_bound(this: float, kept: bool) -> None:
    (result,) = results((RATE,), measured("connections", this=this, that=10_000))
    assert result
    assert (result.is_kept, result.row.bound) == (kept, "at least 0.20")


def test_a_reference_can_be_a_sum() -> None:
    (result,) = results((SUM,), measured(this=3, that=4, more=2))
    assert result
    assert (result.that, result.ratio) == (6, 0.5)


@pytest.mark.parametrize("missing", ["this", "that", "more"])
def test_a_sum_needs_all_its_parts(missing: str) -> None:
    medians = {name: 1.0 for name in ("this", "that", "more") if name != missing}
    assert list(results((SUM,), measured(**medians))) == [None]


def test_a_promise_is_kept_only_where_all_keep_it() -> None:
    good, bad = Result(ROW, 1, 10), Result(ROW, 9, 10)
    assert verdict([good, good]) == "yes"
    assert verdict([good, bad]) == verdict([None, bad]) == "**no**"
    assert verdict([good, None]) == verdict([]) == NOT_MEASURED


def test_processors_stand_side_by_side() -> None:
    row = ROWS[-1]
    runs = {name: {row.group: {str(row.size): at}} for name, at in (("one", both(90)), ("two", both(100)))}
    head, *_, line = promises(runs)
    assert head == ["work", "against", "promise", "kept", "one", "two"]
    assert line[2:] == ["at most 0.95", "**no**", "0.90 (90.0 to 100 MiB)", "**1.00** (100 to 100 MiB)"]


def both(this: float) -> dict[str, dict[str, float]]:
    return {ROWS[-1].this: {"median": this}, ROWS[-1].that: {"median": 100}}


def test_a_missing_measurement_is_shown() -> None:
    runs = {"one": {}}
    for lines in (promises(runs), comparisons(runs), growth(runs)):
        assert {line[-1] for line in lines[1:]} == {NOT_MEASURED}


def test_a_comparison_has_no_bound() -> None:
    assert all(row.at_most is row.at_least is None for row in BESIDE)
    assert Result(BESIDE[0], 100, 1).is_kept


def test_the_promises_are_unchanged() -> None:
    bounds = [3.0, 4.5, 0.2, 0.6, 3.0, 0.75, 0.6, 1.25, 1.15, 1.15, 1.15, 1.25, 1.15, 0.9, 0.9, 0.8, 2.2, 3.0, 3.0]
    bounds += [1.25, 1.5, 100, 1.3, 0.45, 1.03, 0.95]
    assert [row.at_most or row.at_least for row in ROWS] == bounds
    assert [row.group for row in ROWS if row.at_least] == ["connections", "table"]


def test_numbers_are_shown_with_about_three_digits() -> None:
    assert [shown(number) for number in (0.1234, 12.34, 123.4, 12345.6)] == ["0.12", "12.3", "123", "12,346"]
