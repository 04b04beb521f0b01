"""The columns of a history that thin it for a plot."""

import numpy as np
import orjson

from app.row_columns import PLAIN, SKIPPED, UNDONE, bodies, read
from app.store.history import HistoryRow


def text(step: int, **beside: object) -> bytes:
    return orjson.dumps({"step": step, "loss": "Infinity", "grad_norm": None, "skipped": False} | beside)


def unwritten() -> bytes:
    raise AssertionError("the row is read")


def test_columns_are_those_of_written_and_of_given_rows() -> None:
    page = [
        text(1),
        HistoryRow(2, unwritten, curves=(0.5, 2.0)),
        HistoryRow(2, unwritten, is_notable=True, curves=(None, float("nan"))),
        HistoryRow(3, text(3, loss=1.5, undone=True), is_notable=True),
        text(4, skipped=True, loss="NaN"),
    ]
    found = read(page)
    assert found["step"].tolist() == [1, 2, 2, 3, 4]
    assert found["kind"].tolist() == [PLAIN, PLAIN, SKIPPED, UNDONE, SKIPPED]
    np.testing.assert_equal(found["loss"], [np.inf, 0.5, np.nan, 1.5, np.nan])
    np.testing.assert_equal(found["grad_norm"], [np.nan, 2.0, np.nan, np.nan, np.nan])


def test_an_empty_page_has_no_rows() -> None:
    assert bodies(read([])) == []


def test_rows_of_both_kinds_are_json() -> None:
    assert bodies(read([text(1), HistoryRow(2, lambda: text(2), curves=(1.0, 1.0))])) == [text(1), text(2)]
