"""Rows of a table: where they are, and indices that are refused."""

import numpy as np
import pytest

from optim_engine import Config, State, TensorMismatch, step
from optim_engine.arrays import Array
from optim_engine.rows import Rows
from tests.engine.row_cases import SHAPE, drawn, table

HELD = Config.parse("adamw", hold_params=True)
TABLE = np.arange(30).reshape(10, 3)


@pytest.mark.parametrize("indices", [[0, 1, 2], [9], [], [1, 4, 7], [0, 9]])
def test_rows_are_read_written_and_told_by_their_indices(indices: list[int]) -> None:
    rows, table = Rows.of(np.array(indices, np.int64)), TABLE.copy()
    assert (rows.take(table) == TABLE[indices]).all()
    assert [rows.index(i) for i in range(rows.count)] == indices
    starts, length = rows.ranges(100, 24)
    told = [byte for start in starts for byte in range(start, start + length)]
    assert told == [100 + 24 * i + byte for i in indices for byte in range(24)]
    rows.write(np.full((rows.count, 3), -1), table)
    assert sorted({*np.nonzero(table == -1)[0].tolist()}) == indices


def test_adjacent_rows_are_a_view() -> None:
    assert np.may_share_memory(Rows.of(np.array([3, 4, 5])).take(TABLE), TABLE)
    assert not np.may_share_memory(Rows.of(np.array([3, 5])).take(TABLE), TABLE)


@pytest.mark.parametrize(
    ("indices", "words"),
    [
        (np.array([1, 1]), "row 1 follows 1 at 1: sort them"),
        (np.array([2, 1]), "row 1 follows 2 at 1: sort them"),
        (np.array([-1, 2]), "row -1 is out of range: it has rows 0 to 39"),
        (np.array([1, 40]), "row 40 is out of range: it has rows 0 to 39"),
        (np.array([1, 2], np.int32), r"its rows are int32 \[2\]: send one list of int64"),
        (np.array([[1, 2]]), r"its rows are int64 \[1, 2\]"),
        (np.array([1, 2, 3]), r"the gradient of its 3 rows is \[2, 7\] and should be \[3, 7\]"),
    ],
)
def test_indices_that_name_no_rows_are_refused(indices: Array, words: str) -> None:
    state = State.empty().with_params({"emb": table(0)})
    with pytest.raises(TensorMismatch, match=words) as caught:
        step(HELD, state, {}, {"emb": table(1)[:2]}, rows={"emb": indices})
    assert caught.value.tensor == "emb"


@pytest.mark.parametrize(
    ("optimizer", "words"),
    [("lion", "updated by lion, which takes only whole gradients"), ("muon", "muon"), ("adafactor", "adafactor")],
)
def test_a_rule_that_takes_no_rows_refuses_them_by_name(optimizer: str, words: str) -> None:
    rows, g = drawn(1)
    with pytest.raises(TensorMismatch, match=words):
        step(
            Config.parse(optimizer, hold_params=True), State.empty(), {"emb": table(0)}, {"emb": g}, rows={"emb": rows}
        )


def test_rows_of_what_has_none_are_refused() -> None:
    rows, g = drawn(1)
    with pytest.raises(TensorMismatch, match="single number"):
        step(HELD, State.empty(), {"x": np.float32(1)[()].reshape(())}, {"x": g}, rows={"x": rows})
    with pytest.raises(TensorMismatch, match="has rows and is not known"):
        step(HELD, State.empty(), {}, {"emb": g}, rows={"emb": rows})
    with pytest.raises(TensorMismatch, match="has rows and no gradient"):
        step(HELD, State.empty(), {"emb": table(0)}, {"emb": table(1)}, rows={"other": rows})
    with pytest.raises(TensorMismatch, match="does not hold its parameter"):
        step(Config.parse("adamw"), State.empty(), {"emb": g}, {"emb": g}, rows={"emb": rows})
    assert SHAPE[0] > len(rows)
