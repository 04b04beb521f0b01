"""Rows of a tensor: those that a gradient names, as places in a table with one row for each index of the first axis."""

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from optim_engine.arrays import Array
from optim_engine.errors import TensorMismatch
from optim_engine.reports import Touched
from optim_engine.rule import Shape


@dataclass(frozen=True)
class Rows:
    """Some rows of a table, in rising order: `at` is a slice where they are adjacent, otherwise their indices."""

    at: slice | Array
    count: int

    @classmethod
    def of(cls, indices: Array) -> "Rows":
        """Return the rows with those indices, which rise."""
        count = len(indices)
        if count and indices[-1] - indices[0] == count - 1:
            return cls(slice(int(indices[0]), int(indices[0]) + count), count)
        return cls(indices, count)

    @classmethod
    def all(cls, count: int) -> "Rows":
        """Return all rows of a table of so many."""
        return cls(slice(0, count), count)

    @property
    def adjacent(self) -> bool:
        """Return whether the rows of a table are a view of it."""
        return isinstance(self.at, slice)

    def index(self, i: int) -> int:
        """Return the index in the table of the i-th row."""
        return self.at.start + i if isinstance(self.at, slice) else int(self.at[i])

    def take(self, table: Array) -> Array:
        """Return the rows of a table: a view where they are adjacent, otherwise a copy."""
        return table[self.at] if isinstance(self.at, slice) else table.take(self.at, axis=0)

    def write(self, values: Array, table: Array) -> None:
        """Write rows with these values into a table."""
        table[self.at] = values

    def ranges(self, start: int, length: int) -> Touched:
        """Return the bytes of the rows, of `length` bytes each, in a table that begins at byte `start`."""
        if isinstance(self.at, slice):
            return Touched(np.array([start + self.at.start * length]), self.count * length)
        return Touched(start + self.at * length, length)


def check_rows(tensor: str, indices: Array, shape: Shape) -> None:
    """Raise `TensorMismatch` unless the indices rise and are those of rows of a tensor of that shape."""
    if indices.dtype != np.int64 or indices.ndim != 1:
        got = f"{indices.dtype.name} {list(indices.shape)}"
        raise TensorMismatch(tensor, f": its rows are {got}: send one list of int64", expected="int64 [k]", got=got)
    if not shape:
        raise TensorMismatch(tensor, "is a single number, which has no rows: send its gradient without rows")
    rises = indices[1:] > indices[:-1]
    if not rises.all():
        i = int(rises.argmin())
        words = f": its rows must rise, and row {indices[i + 1]} follows {indices[i]} at {i + 1}: sort them, and add up"
        raise TensorMismatch(tensor, f"{words} the gradients of a row that stands twice")
    for i in (0, -1) if len(indices) else ():
        if not 0 <= indices[i] < shape[0]:
            words = f": row {indices[i]} is out of range: it has rows 0 to {shape[0] - 1}"
            raise TensorMismatch(tensor, words, expected=f"0 to {shape[0] - 1}", got=str(indices[i]))


def check_values(tensor: str, g: Array, indices: Array, shape: Shape) -> None:
    """Raise `TensorMismatch` unless a gradient has the shape of those rows of a tensor."""
    expected = (len(indices), *shape[1:])
    if g.shape != expected:
        raise TensorMismatch(
            tensor,
            f": the gradient of its {len(indices)} rows is {list(g.shape)} and should be {list(expected)}",
            expected=str(list(expected)),
            got=str(list(g.shape)),
        )


def spread(g: Array, indices: Array, shape: Shape) -> Array:
    """Return the gradient of a whole tensor: zeros, except in those rows."""
    whole = np.zeros(shape, g.dtype)
    whole[indices] = g
    return whole


def table_of(memory: Array, start: int, dtype: np.dtype[Any], shape: Shape) -> Array:
    """Return a slot of that shape and dtype in a memory as a table: [rows, width]."""
    rows, width = prod(shape[:1]), prod(shape[1:])
    return memory[start : start + rows * width * dtype.itemsize].view(dtype).reshape(rows, width)
