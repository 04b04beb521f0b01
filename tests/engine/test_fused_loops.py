"""The inner loops of the fused kernel, compiled alone: memory on the stack, sums of rows, and Adam on a part."""

import math
from typing import Any

import numpy as np
import pytest
from numba import float64, literally, njit

from optim_engine.arrays import Array
from optim_engine.fused_loops import LINE, address, fence, moved, row_sums, stack, update

N = 512
each_number = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@njit(error_model="numpy")
def _addresses(x):  # type: ignore[no-untyped-def]
    first, second = stack(x, N), stack(x, N)
    return address(first), address(moved(first, 3)), address(second)


@njit(error_model="numpy")
def _row_sums(x, y, start, size):  # type: ignore[no-untyped-def]
    both = stack(x, N), stack(x, N)
    for i in range(x.size):
        both[0][i], both[1][i] = x[i], y[i]
    fence()
    return row_sums(both, start, size)


@njit(error_model="numpy")
def _update(mode, of, start, end, zero, found):  # type: ignore[no-untyped-def]
    """Update a part with the squares 1 in all lanes before; return where it stopped, and the lanes in float64."""
    old, new, numbers, flags = of
    g = old[0]
    squares, exact = (stack(g, N), stack(g, N), stack(g, N)), stack(float64, N)
    for i in range(N):
        exact[i] = 1
        for j in range(3):
            squares[j][i] = 1
    at = update("adam", literally(mode), (old, new, squares, exact, numbers, flags), start, end, zero)
    for i in range(N):
        found[3, i] = exact[i]
        for j in range(3):
            found[j, i] = squares[j][i]
    return at


def numbers(count: int, dtype: Any, *, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(count).astype(dtype)


@each_number
def test_a_place_on_the_stack_is_aligned_and_its_own(dtype: Any) -> None:
    x = numbers(1, dtype)
    first, third, second = _addresses(x)
    assert first % LINE == second % LINE == 0
    assert third - first == 3 * x.itemsize
    assert abs(second - first) >= N * x.itemsize


def row_sum(x: Array) -> Any:
    """Return the sum of a row as `sums.py` does it: the first element, then the others in eight lanes."""
    zero = x.dtype.type(0)
    whole = (len(x) - 1) // 8 * 8
    lanes = x[1 : 1 + whole].reshape(-1, 8)
    total = zero
    if whole:
        parts = lanes[0]
        for row in lanes[1:]:
            parts = parts + row
        while len(parts) > 1:
            parts = parts[::2] + parts[1::2]
        total = parts[0]
    for value in x[1 + whole :]:
        total = total + value
    return x[0] + total


@each_number
@pytest.mark.parametrize("size", [1, 2, 8, 9, 10, 17, 100, 128])
def test_rows_are_summed_in_the_order_of_the_engine(dtype: Any, size: int) -> None:
    x, y = numbers(200, dtype), numbers(200, dtype, seed=1) * dtype(1e4)
    for start in (0, 5):
        part = slice(start, start + size)
        assert _row_sums(x, y, start, size) == (row_sum(x[part]), row_sum(y[part]))


COUNT = 1200


def lines_of(values: Array) -> Array:
    """Return a copy that starts with a cache line."""
    room = np.empty(len(values) + LINE, values.dtype)
    first = -room.ctypes.data % LINE // room.itemsize
    room[first : first + len(values)] = values
    return room[first : first + len(values)]


class Part:
    """One call on vectors of numbers: what it wrote, and where it stopped."""

    def __init__(
        self,
        dtype: Any,
        mode: str,
        span: tuple[int, int],
        *,
        past: bool = False,
        bound: float = math.inf,
        jump: int = -1,
    ) -> None:
        self.old = [lines_of(numbers(COUNT, dtype, seed=i)) for i in range(5)]
        for squares in self.old[3:]:
            np.square(squares, out=squares)
        if jump >= 0:
            self.old[2][jump] = 1e12
        self.new = [lines_of(np.full(COUNT, 7, dtype)) for _ in range(4)]
        of = tuple(dtype(x) for x in (1, math.inf, 0, 0.9, 0.1, 0.99, 0.01, 1e-8, 1e-3, 0.999, bound))
        self.found = np.zeros((4, N))
        flags = (past, True, False, True, False, False)
        self.at = _update(mode, (tuple(self.old), tuple(self.new), of, flags), *span, span[0], self.found)
        g, θ, m, v, _ = self.old
        m, v = m * of[3] + g * of[4], v * of[5] + g * g * of[6]
        after = θ * of[9] - m / (np.sqrt(v) + of[7]) * of[8]
        self.expected = [after, m, v]
        self.squared = [x * x for x in (g, after - θ, after)]
        self.exact = (after - θ).astype(np.float64) ** 2

    def check(self, start: int, end: int) -> None:
        """Check that the elements from `start` to `end` are updated, and nothing beside them."""
        for made, wanted in zip(self.new, self.expected, strict=False):
            assert np.array_equal(made[start:end], wanted[start:end])
            assert set(np.delete(made, np.s_[start:end])) <= {7}


@each_number
@pytest.mark.parametrize("past", [False, True], ids=["cached", "past the cache"])
@pytest.mark.parametrize(("start", "end"), [(0, 1152), (64, 128), (64, 640), (32, 32)])
def test_tiles_are_updated_and_their_squares_added(dtype: Any, past: bool, start: int, end: int) -> None:
    part = Part(dtype, "tiles", (start, end), past=past)
    assert part.at == end
    part.check(start, end)
    for made, squares in zip(part.found, part.squared, strict=False):
        lanes = np.ones(N, dtype)
        for i in range(start, end):
            lanes[(i - start) % N] += squares[i]
        assert np.array_equal(made, lanes)


@each_number
@pytest.mark.parametrize(("start", "end"), [(0, 1100), (16, 48), (16, 97), (32, 33), (32, 32)])
def test_squares_of_the_change_are_added_in_float64_too(dtype: Any, start: int, end: int) -> None:
    part = Part(dtype, "exact", (start, end))
    part.check(start, end)
    lanes, exact = np.ones(N, dtype), np.ones(N)
    for i in range(start, end):
        lanes[(i - start) % N] += part.squared[1][i]
        exact[(i - start) % N] += part.exact[i]
    assert np.array_equal(part.found[1], lanes)
    if dtype is np.float32:
        assert np.array_equal(part.found[3], exact)


@pytest.mark.parametrize("mode", ["rows"])
@each_number
@pytest.mark.parametrize(("start", "end"), [(0, 100), (16, 97), (32, 33)])
def test_squares_of_rows_are_stored_side_by_side(dtype: Any, mode: str, start: int, end: int) -> None:
    part = Part(dtype, mode, (start, end))
    part.check(start, end)
    for made, squares in zip(part.found, part.squared, strict=False):
        assert np.array_equal(made[: end - start], squares[start:end])


@pytest.mark.parametrize("jump", [0, 31, 32, 700, 1151])
def test_tiles_stop_before_a_large_change_is_stored(jump: int) -> None:
    part = Part(np.float32, "tiles", (0, 1152), bound=2.0**20, jump=jump)
    assert part.at == jump // 32 * 32
    part.check(0, part.at)
