"""The inner loops of the fused kernel, compiled alone: memory on the stack, sums of rows, and Adam on a part."""

import math
from typing import Any

import numpy as np
import pytest
from numba import njit

from optim_engine.arrays import Array
from optim_engine.fused_loops import LINE, WIDTH, adam, address, fence, moved, row_sums, stack

N = 512
BARE, DECAYING, AMSGRAD = (True, False, False), (False, True, False), (True, False, True)
"""The first flags of `adam`: a plain gradient, L2 decay, and AMSGrad."""
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
def _update(old, new, numbers, flags, start, end, lane, found):  # type: ignore[no-untyped-def]
    """Update a part, first without and then with the sums of before."""
    g = old[0]
    squares = stack(g, N), stack(g, N), stack(g, N)
    adam(False, old, new, squares, numbers, flags, start, end, lane)
    adam(True, old, new, squares, numbers, flags, start, end, lane)
    for j in range(3):
        for i in range(end - start):
            found[j, i] = squares[j][lane + i]


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


def expected(old: tuple[Array, ...], h: tuple[Any, ...], flags: tuple[bool, ...]) -> list[Array]:
    """Return the new parameter, moments and largest moment, and the change, by NumPy."""
    g, θ, m, v, v_max = old
    c, bound, λ, β1, rest1, β2, rest2, ε, γ, decay = h
    bare, decays, amsgrad, _ = flags
    if not bare:
        g = np.clip(g * c, -bound, bound)
        g = g + θ * λ if decays else g
    m, v = m * β1 + g * rest1, v * β2 + g * g * rest2
    v_max = np.maximum(v_max, v) if amsgrad else v_max
    result = θ * decay - m / (np.sqrt(v_max if amsgrad else v) + ε) * γ
    return [result, m, v, v_max, result - θ]


def lines_of(count: int, value: float, dtype: Any) -> Array:
    """Return an array that starts with a cache line."""
    room = np.full(count + LINE, value, dtype)
    first = -room.ctypes.data % LINE // room.itemsize
    return room[first : first + count]


@each_number
@pytest.mark.parametrize("flags", [BARE, DECAYING, AMSGRAD])
@pytest.mark.parametrize("past", [False, True], ids=["cached", "past the cache"])
@pytest.mark.parametrize(("start", "end"), [(0, 100), (16, 16 + 2 * WIDTH), (16, 97), (32, 33), (32, 32)])
def test_a_part_is_updated_and_nothing_beside_it(dtype: Any, flags: Any, past: bool, start: int, end: int) -> None:
    flags = (*flags, past)
    old = tuple(numbers(100, dtype, seed=i) for i in range(5))
    for squares in old[3:]:
        np.square(squares, out=squares)
    clipping = (1, math.inf) if flags[0] else (0.5, 0.25)
    h = tuple(dtype(x) for x in (*clipping, 0.01, 0.9, 0.1, 0.99, 0.01, 1e-8, 1e-3, 0.999))
    new, found = tuple(lines_of(100, 7, dtype) for _ in range(4)), np.zeros((3, 100), dtype)
    _update(old, new, h, flags, start, end, 11, found)
    *after, change = expected(old, h, flags)
    written = 4 if flags[2] else 3
    for made, wanted in zip(new[:written], after, strict=False):
        assert np.array_equal(made[start:end], wanted[start:end])
    for made in new[:written]:
        assert set(np.delete(made, np.s_[start:end])) <= {7}
    for made, value in zip(found, (old[0], change, after[0]), strict=True):
        assert np.array_equal(made[: end - start], (2 * (value * value))[start:end])
