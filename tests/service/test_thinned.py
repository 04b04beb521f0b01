"""A history thinned for a plot."""

from itertools import pairwise
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from app.thinned import Thinned

numbers = st.none() | st.floats(-1e6, 1e6)
rows_of = st.lists(st.tuples(numbers, numbers, st.booleans()), max_size=300)


def made(values: list[tuple[float | None, float | None, bool]]) -> list[dict[str, Any]]:
    """Return the rows of a history; a skipped one has the number of the step before it."""
    step, rows = 0, []
    for loss, norm, skipped in values:
        step += not skipped
        rows.append({"step": step, "loss": loss, "grad_norm": norm, "skipped": skipped, "place": len(rows)})
    return rows


def thinned(rows: list[dict[str, Any]], points: int) -> list[dict[str, Any]]:
    thin = Thinned(points, rows[-1]["step"] if rows else 0)
    bodies = [orjson.dumps(row) for row in rows]
    for start in range(0, len(bodies), 7):
        thin.add(bodies[start : start + 7])
    return [orjson.loads(body) for body in thin.rows()]


@given(rows_of, st.integers(4, 120))
def test_ends_skips_and_extremes_stay_within_the_bound(values: Any, points: int) -> None:
    rows = made(values)
    kept = thinned(rows, points)
    taken = [row for row in rows if not row["skipped"]]
    places = {row["place"] for row in kept}
    assert [row["place"] for row in kept] == sorted(places)
    assert {row["place"] for row in rows if row["skipped"]} <= places
    assert sum(not row["skipped"] for row in kept) <= 1.5 * points
    if taken:
        assert {taken[0]["place"], taken[-1]["place"]} <= places
    for name in ("loss", "grad_norm"):
        if values_of := [row[name] for row in taken if row[name] is not None]:
            left = [row[name] for row in kept if not row["skipped"] and row[name] is not None]
            assert (min(left), max(left)) == (min(values_of), max(values_of))


def test_a_short_history_is_whole() -> None:
    rows = made([(1.0, 2.0, False)] * 150)
    assert thinned(rows, 100) == rows


def test_a_long_history_keeps_rows_of_every_part() -> None:
    rows = made([(None, None, False)] * 10_000)
    steps = [row["step"] for row in thinned(rows, 100)]
    assert 30 <= len(steps) <= 150
    assert max(later - earlier for earlier, later in pairwise(steps)) < 400
