"""Plain values: numbers and times as JSON can say them."""

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.plain import instant, number, numbers
from tests.examples import examples


@pytest.mark.parametrize("x", [None, 0.0, -0.0, 5e-324, -1.7976931348623157e308])
def test_a_finite_number_stays(x: float | None) -> None:
    assert number(x) is x


@pytest.mark.parametrize(
    ("x", "text"), [(math.nan, "NaN"), (-math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity")]
)
def test_a_number_that_is_not_finite_becomes_text(x: float, text: str) -> None:
    assert number(x) == text
    assert float(text) == x or math.isnan(x)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, None),
        (0, "1970-01-01T00:00:00.000Z"),
        (1763640331.25, "2025-11-20T12:05:31.250Z"),
        (1e18, "9999-12-31T23:59:59.999Z"),
        (math.inf, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_a_time_is_written_in_utc_to_the_millisecond(seconds: float | None, text: str | None) -> None:
    assert instant(seconds) == text


@examples(quick=200, whole=20_000)
@given(seconds=st.floats(-6e10, 2.5e11))
def test_a_time_is_the_calendars_whatever_its_second(seconds: float) -> None:
    moment = datetime.fromtimestamp(seconds, UTC)
    assert instant(seconds) == moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


@pytest.mark.parametrize(
    "values", [{}, {"a": 1.0, "b": 1e308, "c": 1e308}, {"a": math.inf, "b": -math.inf, "c": math.nan}]
)
def test_numbers_are_written_each_as_one_number_is(values: dict[str, float]) -> None:
    assert numbers(values) == {name: number(value) for name, value in values.items()}
