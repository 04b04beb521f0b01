"""Adam in one pass over memory, compiled by numba, which `fused_loops.py` alone names as well: imported where that is
installed.

Moments, parameters and sums are those of `walk.py` to the bit: the same operations of IEEE 754 in the same order, with
coefficients that were rounded once; the compiler may change none of it. Other rules and half precision are left to
NumPy's walk; gradients that only travelled in halves are widened by NumPy before.

The results are not read again before they have left the cache, so they go straight to memory, past it: a plain store
would read each line before it overwrites it. That needs whole, aligned cache lines.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from numba import float32, float64, literal_unroll, njit, types

from optim_engine import walk
from optim_engine.arrays import Array, compute_dtype, widened
from optim_engine.averages import correction
from optim_engine.buffers import scratch
from optim_engine.fused_loops import LINE, adam, fence, row_sums, stack
from optim_engine.hyperparameters import Adam, AdamW
from optim_engine.sums import FEWER, LANES, ROW, TILE, TRUSTED, Chunk
from optim_engine.walk import Update, Vectors

SQUARES = ROW + LANES
"""Elements: what is left of a row, and the next ones."""
DTYPES = [np.dtype(np.float32), np.dtype(np.float64)]


def advance(update: Update, run: Vectors, chunk: Chunk) -> Array:
    """Update a chunk of a run, and sum its squares."""
    h, dtype = update.h, run.old["params"].dtype
    in_place = _address(run.old["params"]) == _address(run.new["params"])
    if in_place or not isinstance(h, Adam | AdamW) or dtype not in DTYPES:
        return walk.advance(update, run, chunk)
    last = "v_max" if h.amsgrad else "v"
    old, new = ([vectors[slot] for slot in ("params", "m", "v", last)] for vectors in (run.old, run.new))
    inputs = tuple([np.ascontiguousarray(array) for array in (_in(dtype, run.g), *old)])
    numbers = _coefficients(update, h, dtype)
    decays = bool(h.weight_decay) and not h.decoupled
    bare = numbers[:2] == (1, math.inf) and not decays
    past_cache = all(_address(array) % LINE == 0 for array in new)
    sums = np.empty((len(chunk.ends), 3))
    _ADAM(inputs, tuple(new), numbers, (bare, decays, h.amsgrad, past_cache), chunk.ends, chunk.small, sums)
    return sums


def squares(x: Array, chunk: Chunk) -> Array:
    """The sums of squares of a chunk, whose elements x has."""
    wide = np.ascontiguousarray(_in(compute_dtype(x.dtype), x))
    sums = np.empty((len(chunk.ends), 1))
    _SQUARES(wide, chunk.ends, chunk.small, sums)
    return sums


@np.errstate(all="ignore")
def _in(dtype: np.dtype[Any], g: Array) -> Array:
    """The gradient in the dtype that is computed in."""
    return g if g.dtype == dtype else widened(g, scratch(1, len(g), dtype)[0])


@lru_cache(maxsize=16)
@np.errstate(all="ignore")
def _coefficients(update: Update, h: Adam | AdamW, dtype: np.dtype[Any]) -> tuple[Any, ...]:
    """Return the numbers of the gradient and the rule, rounded once to the dtype; the same for all chunks of a run."""
    number = dtype.type
    β1, β2 = h.betas
    bias1, bias2 = correction(β1, update.t), math.sqrt(correction(β2, update.t))
    return (
        number(-update.clip_scale if h.maximize else update.clip_scale),
        number(math.inf if update.clip_value is None else update.clip_value),
        number(0 if h.decoupled else h.weight_decay),
        *(number(β1), number(1 - β1), number(β2), number(1 - β2)),
        *(number(h.eps * bias2), number(update.γ * bias2 / bias1)),
        number(1 - update.γ * h.weight_decay if h.decoupled else 1),
    )


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


@njit(error_model="numpy")
def _clear(vectors):
    for i in range(LANES):
        for vector in literal_unroll(vectors):
            vector[i] = 0


@njit(error_model="numpy")
def _add(lanes, squares):
    """A tile, to the lanes."""
    for i in range(LANES):
        for j in range(len(lanes)):
            lanes[j][i] += float64(squares[j][i])


@njit(error_model="numpy")
def _total(lanes):
    for i in range(FEWER, LANES, FEWER):
        for j in range(FEWER):
            lanes[j] += lanes[i + j]
    total = 0.0
    for j in range(FEWER):
        total += lanes[j]
    return total


@njit(error_model="numpy")
def _small(x, start, stop):
    """The sum of the squares of a small tensor, which x has from start to stop."""
    squares = stack(x, ROW)
    total = 0.0
    for first in range(start, stop, ROW):
        size = min(ROW, stop - first)
        for i in range(size):
            squares[i] = x[first + i] * x[first + i]
        total += row_sums((squares,), 0, size)[0]
    return total


@njit(error_model="numpy")
def _block(x, start, stop):
    """The sum of the squares of a block, which x has from start to stop."""
    squares, lanes = (stack(x, LANES),), (stack(float64, LANES),)
    _clear(lanes)
    for tile in range(start, stop, TILE):
        _clear(squares)
        for first in range(tile, min(tile + TILE, stop), LANES):
            for i in range(min(LANES, stop - first)):
                squares[0][i] += x[first + i] * x[first + i]
        _add(lanes, squares)
    return _total(lanes[0])


@njit(error_model="numpy")
def _sum(x, start, stop, small):
    return _small(x, start, stop) if small else _block(x, start, stop)


@njit(error_model="numpy")
def _is_settled(total, x):
    return (0 if x.itemsize == 8 else TRUSTED) <= total < math.inf


@njit(error_model="numpy")
def _settled(total, x, small):
    """The sum of x's squares: the one that was found in x's dtype, or that of the squares in float64."""
    if x.itemsize == 8 or _is_settled(total, x):
        return total
    return _sum(x.astype(np.float64), 0, x.size, small)


@njit(error_model="numpy")
def _unify_nans(vectors, start, stop):
    for x in literal_unroll(vectors):
        for i in range(start, stop):
            if math.isnan(x[i]):
                x[i] = math.nan


def _read(number: Any) -> Any:
    return types.Array(number, 1, "C", readonly=True, aligned=False)


def _written(number: Any) -> Any:
    return types.Array(number, 1, "C", aligned=False)


_CHUNK = types.Array(types.int64, 1, "C"), types.boolean, types.Array(float64, 2, "C")
"""Where each sum ends, whether those are of small tensors, and the sums."""


def _signature(number: Any) -> Any:
    old, new = types.UniTuple(_read(number), 5), types.UniTuple(_written(number), 4)
    return types.void(old, new, types.UniTuple(number, 10), types.UniTuple(types.boolean, 4), *_CHUNK)


def _compiled(function: Any, *signatures: Any) -> Any:
    """Compiled when this file is imported; kept for the next time where there is a folder to write to."""
    how = {"nogil": True, "error_model": "numpy"}
    try:
        return njit(list(signatures), cache=True, **how)(function)
    except RuntimeError:
        return njit(list(signatures), **how)(function)


def _squares(x, ends, small, sums):
    start = 0
    for k in range(ends.size):
        total = _sum(x, start, ends[k], small)
        sums[k, 0] = total if _is_settled(total, x) else _settled(total, x[start : ends[k]], small)
        start = ends[k]


def _adam(old, new, numbers, flags, ends, small, sums):
    """Without AMSGrad, v stands for v_max."""
    if small:
        _tensors(old, new, numbers, flags, ends, sums)
    else:
        _blocks(old, new, numbers, flags, ends, sums)
    fence()
    start, g = 0, old[0]
    for k in range(ends.size):
        end = ends[k]
        if not (_is_settled(sums[k, 0], g) and _is_settled(sums[k, 1], g) and _is_settled(sums[k, 2], g)):
            θ, result = old[1][start:end], new[0][start:end]
            sums[k, 0] = _settled(sums[k, 0], g[start:end], small)
            sums[k, 1] = _settled(sums[k, 1], result - θ, small)
            sums[k, 2] = _settled(sums[k, 2], result, small)
            _unify_nans(new, start, end)
        start = end


@njit(error_model="numpy")
def _tensors(old, new, numbers, flags, ends, sums):
    """Small tensors: as one vector, whose squares are taken row by row as soon as they are there."""
    g = old[0]
    squares = stack(g, SQUARES), stack(g, SQUARES), stack(g, SQUARES)
    start = done = ready = taken = 0
    for k in range(ends.size):
        gradients = change = params = 0.0
        while start < ends[k]:
            size = min(ROW, ends[k] - start)
            if ready < size:
                for i in range(ready):
                    for j in range(3):
                        squares[j][i] = squares[j][taken + i]
                end = min(done + LANES, g.size)
                adam(False, old, new, squares, numbers, flags, done, end, ready)
                done, ready, taken = end, ready + end - done, 0
            row = row_sums(squares, taken, size)
            gradients, change, params = gradients + row[0], change + row[1], params + row[2]
            start, ready, taken = start + size, ready - size, taken + size
        sums[k, 0], sums[k, 1], sums[k, 2] = gradients, change, params


@njit(error_model="numpy")
def _blocks(old, new, numbers, flags, ends, sums):
    """The blocks of a large tensor."""
    g, begin = old[0], 0
    squares = stack(g, LANES), stack(g, LANES), stack(g, LANES)
    lanes = stack(float64, LANES), stack(float64, LANES), stack(float64, LANES)
    for k in range(ends.size):
        _clear(lanes)
        for tile in range(begin, ends[k], TILE):
            _clear(squares)
            for start in range(tile, min(tile + TILE, ends[k]), LANES):
                adam(True, old, new, squares, numbers, flags, start, min(start + LANES, ends[k]), 0)
            _add(lanes, squares)
        for j in range(3):
            sums[k, j] = _total(lanes[j])
        begin = ends[k]


_ADAM = _compiled(_adam, _signature(float32), _signature(float64))
_SQUARES = _compiled(_squares, *[types.void(_read(number), *_CHUNK) for number in (float32, float64)])
