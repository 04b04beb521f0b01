"""A history thinned for a plot."""

from itertools import pairwise
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app import thinned as thinning
from app.row_columns import bodies, read
from app.thinned import Thinned
from tests.examples import examples

numbers = st.sampled_from([None, "NaN", "Infinity", 0.5, 1.0]) | st.floats(-1e6, 1e6)
kinds = st.sampled_from(["plain"] * 6 + ["skipped", "undone", "far"])
rows_of = st.lists(st.tuples(numbers, numbers, kinds), max_size=300)


def made(values: list[tuple[Any, Any, str]]) -> list[dict[str, Any]]:
    """Return the rows of a history; a skipped one has the number of the step before it."""
    step, rows = 0, []
    for loss, norm, kind in values:
        step += {"skipped": 0, "far": 10**9}.get(kind, 1)
        row = {"step": step, "loss": loss, "grad_norm": norm, "skipped": kind == "skipped", "place": len(rows)}
        rows.append(row | ({"undone": True} if kind == "undone" else {}))
    return rows


def thinned(rows: list[dict[str, Any]], points: int, page: int = 7) -> list[dict[str, Any]]:
    thin = Thinned(points)
    texts = [orjson.dumps(row) for row in rows]
    for start in range(0, len(texts), page):
        thin.add(read(texts[start : start + page]))
    return [orjson.loads(body) for body in bodies(thin.kept())]


def finite(rows: list[dict[str, Any]], name: str) -> list[float]:
    return [row[name] for row in rows if isinstance(row[name], float)]


@examples(quick=40, whole=5000)
@given(rows_of, st.integers(1, 120))
def test_ends_and_skips_stay_within_the_bound(values: Any, points: int) -> None:
    rows = made(values)
    kept = thinned(rows, points)
    taken = [row for row in rows if not row["skipped"]]
    places = {row["place"] for row in kept}
    assert [row["place"] for row in kept] == sorted(places)
    assert {row["place"] for row in rows if row["skipped"]} <= places
    assert sum(not row["skipped"] for row in kept) <= 1.5 * points
    if taken:
        assert taken[-1]["place"] in places
        assert taken[0]["place"] in places or points == 1


@examples(quick=40, whole=5000)
@given(rows_of, st.integers(9, 120))
def test_extremes_stay_of_plain_and_of_undone_rows(values: Any, points: int) -> None:
    rows = made(values)
    kept = thinned(rows, points)
    for is_undone in (False, True):
        of_kind = [
            [row for row in each if not row["skipped"] and ("undone" in row) is is_undone] for each in (rows, kept)
        ]
        for name in ("loss", "grad_norm"):
            before, after = (finite(each, name) for each in of_kind)
            assert (min(before, default=0), max(before, default=0)) == (min(after, default=0), max(after, default=0))


@examples(quick=40, whole=5000)
@given(rows_of, st.integers(1, 60), st.integers(1, 50))
def test_pages_are_thinned_as_the_whole_history(values: Any, points: int, page: int) -> None:
    rows = made(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(thinning, "SLACK", 0)
        kept = thinned(rows, points, page)
    assert kept == thinned(rows, points, 1000)


def test_a_short_history_is_whole() -> None:
    rows = made([(1.0, 2.0, "plain")] * 100 + [(1.0, 2.0, "undone")] * 50)
    assert thinned(rows, 100) == rows


@pytest.mark.parametrize("points", [50, 1000])
def test_a_long_history_keeps_rows_of_every_part(points: int) -> None:
    rows = made([(None, None, "plain")] * 10_000)
    steps = [row["step"] for row in thinned(rows, points, 500)]
    assert points / 6 < len(steps) <= 1.5 * points
    assert max(later - earlier for earlier, later in pairwise(steps)) < 80_000 / points
