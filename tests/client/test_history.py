"""The history as arrays."""

from datetime import UTC, datetime
from typing import Any

import numpy as np
from optim_client import History, HistoryRow
from optim_client._history import COLUMNS

from tests.client.documents import METRICS, ROW


def rows(*changes: dict[str, Any]) -> History:
    return History(HistoryRow.read({**ROW, "step": step, **change}) for step, change in enumerate(changes, 1))


def test_columns_are_arrays_in_the_order_of_rows() -> None:
    history = rows({"loss": 2.5}, {"loss": 1.5, "grad_norm": "Infinity", "skipped": True}, {"undone": True})
    np.testing.assert_array_equal(history.step, np.array([1, 2, 3]))
    np.testing.assert_array_equal(history.loss, [2.5, 1.5, np.nan])
    np.testing.assert_array_equal(history.grad_norm, [0.361, np.inf, 0.361])
    np.testing.assert_array_equal(history.skipped, [False, True, False])
    np.testing.assert_array_equal(history.undone, [False, False, True])
    for name, value in METRICS.items():
        assert getattr(history, name)[0] == value
    assert history.duration_ms.tolist() == [0.7] * 3


def test_times_are_datetimes_of_numpy_in_utc() -> None:
    (time,) = rows({"time": "2026-11-20T13:00:01.500000+01:00"}).time
    assert time == np.datetime64("2026-11-20T12:00:01.5")
    assert time.astype(datetime).replace(tzinfo=UTC) == datetime(2026, 11, 20, 12, 0, 1, 500000, tzinfo=UTC)


def test_arrays_has_every_column_of_a_row() -> None:
    arrays = rows({}, {}).arrays()
    assert list(arrays) == list(COLUMNS)
    assert {*COLUMNS} == {*HistoryRow.__dataclass_fields__} - {"contributions"}
    assert {len(array) for array in arrays.values()} == {2}
    assert all(array.dtype.kind in "ifbM" for array in arrays.values())


def test_an_empty_history_has_empty_arrays() -> None:
    assert {len(array) for array in History().arrays().values()} == {0}


def test_a_part_of_a_history_is_one_too() -> None:
    history = rows({}, {}, {})
    assert isinstance(history[1:], History)
    assert history[1:].step.tolist() == [2, 3]
    assert history[-1].step == 3
    assert history == list(history)
