"""Adam in one pass over memory, compiled by numba. Imported only where numba is installed, which only this module and
`fused_loops.py` name.

Moments, parameters and sums equal those of `walk.py` to the bit: the same IEEE 754 operations in the same order, with
coefficients rounded once. The compiler may change none of it. NumPy's walk does all other rules and half precision;
NumPy also widens gradients that travelled as halves.

Results are stored past the cache, because nothing reads them before they would leave it, and a plain store reads each
line before it overwrites it. Such stores need whole, aligned cache lines.
"""

import math
from functools import lru_cache
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from numba import float32, float64, njit, types

from optim_engine import walk
from optim_engine.adam import Adam, AdamW, corrections
from optim_engine.arrays import Array, compute_dtype, unify_nans, widened
from optim_engine.buffers import scratch
from optim_engine.fused_loops import LINE, adam, address, fence, moved, row_sums, stack
from optim_engine.sums import FEWER, LANES, ROW, TILE, TRUSTED, Chunk, settle_chunk
from optim_engine.walk import Update, Vectors

SQUARES = ROW + LANES
"""Elements: the remainder of a row, and the next rows."""
APART = LANES + 64
"""Elements from the start of one vector's squares to that of the next."""
ROOM = 4 * LANES + 2 * 64
"""Elements that hold the squares of three vectors, at any offset in a page."""
DTYPES = [np.dtype(np.float32), np.dtype(np.float64)]


def update_blocks(update: Update, run: Vectors, chunk: Chunk) -> Array:
    """Update a chunk of a run, and return the same sums of squares as `walk.update_blocks`."""
    h, old, new = update.h, run.old, run.new
    θ, result = old["params"], new["params"]
    if not isinstance(h, (Adam, AdamW)) or h.cautious or θ.dtype not in DTYPES or np.may_share_memory(θ, result):
        return walk.update_blocks(update, run, chunk)
    last = "v_max" if h.amsgrad else "v"
    g, θ = np.ascontiguousarray(_in(θ.dtype, run.g)), np.ascontiguousarray(θ)
    numbers, flags = _coefficients(update, θ.dtype)
    sums = np.empty((len(chunk.ends), 3))
    inputs, outputs = (g, θ, old["m"], old["v"], old[last]), (result, new["m"], new["v"], new[last])
    if not _ADAM(inputs, outputs, numbers, flags, chunk.ends, chunk.small, sums):
        _settle(sums, run, chunk)
    return sums


def _settle(sums: Array, run: Vectors, chunk: Chunk) -> None:
    """Sum again in float64 where a sum is out of range, and unify NaNs, as `walk.py` does."""
    θ, result = run.old["params"], run.new["params"]
    settle_chunk(sums, chunk, lambda at: [run.g[at], result[at] - θ[at], result[at]])
    if np.isnan(sums[:, 2]).any():
        for x in run.new.values():
            unify_nans(x)


def squares(x: Array, chunk: Chunk) -> Array:
    """Return the sums of squares of a chunk, whose elements are `x`: [sums, 1]."""
    wide = np.ascontiguousarray(_in(compute_dtype(x.dtype), x))
    sums = np.empty((len(chunk.ends), 1))
    if not _SQUARES(wide, chunk.ends, chunk.small, sums):
        settle_chunk(sums, chunk, lambda at: [x[at]])
    return sums


def _in(dtype: np.dtype[Any], g: Array) -> Array:
    """Return the gradient in the compute dtype."""
    return g if g.dtype == dtype else widened(g, scratch(1, len(g), dtype)[0])


@lru_cache(maxsize=16)
def _coefficients(update: Update, dtype: np.dtype[Any]) -> tuple[tuple[Any, ...], tuple[bool, bool, bool]]:
    """Return the kernel's coefficients, rounded once to the dtype, and its flags. All chunks of a run share them."""
    h: Any = update.h
    β1, β2 = h.betas
    bias1, bias2 = corrections(h, update.t)
    numbers = [
        -update.clip_scale if h.maximize else update.clip_scale,
        math.inf if update.clip_value is None else update.clip_value,
        0.0 if h.decoupled else h.weight_decay,
        *(β1, 1 - β1, β2, 1 - β2),
        *(h.eps * bias2, update.γ * bias2 / bias1),
        1 - update.γ * h.weight_decay if h.decoupled else 1.0,
    ]
    decays = bool(h.weight_decay) and not h.decoupled
    return tuple(np.array(numbers, dtype)), (not (h.maximize or update.changes_gradient), decays, h.amsgrad)


@njit(error_model="numpy")
def _clear(vectors):
    for j in range(len(vectors)):
        for i in range(LANES):
            vectors[j][i] = 0


@njit(error_model="numpy")
def _add(lanes, squares):
    """Add a tile's squares to the lanes."""
    for j in range(len(lanes)):
        for i in range(LANES):
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


def _read(number: Any) -> Any:
    return types.Array(number, 1, "C", readonly=True, aligned=False)


def _written(number: Any) -> Any:
    return types.Array(number, 1, "C", aligned=False)


_CHUNK = types.Array(types.int64, 1, "C"), types.boolean, types.Array(float64, 2, "C")
"""The types of the last arguments: the end of each sum's elements, whether the tensors are small, and the sums."""


def _signature(number: Any) -> Any:
    old, new = types.UniTuple(_read(number), 5), types.UniTuple(_written(number), 4)
    return types.boolean(old, new, types.UniTuple(number, 10), types.UniTuple(types.boolean, 3), *_CHUNK)


def _compiled(function: Any, *signatures: Any) -> Any:
    """Return the function compiled for the signatures, from numba's cache if there is a folder for one."""
    how = {"nogil": True, "error_model": "numpy"}
    try:
        return njit(list(signatures), cache=True, **how)(function)
    except RuntimeError:
        return njit(list(signatures), **how)(function)


def _squares(sources):
    """Return the kernel of sums alone: it fills `sums` for a chunk, and returns whether all are in range."""

    def squares_kernel(x, ends, small, sums):
        assert sources
        squares, lanes, begin = (stack(x, LANES),), (stack(float64, LANES),), 0
        for k in range(ends.size):
            if small:
                sums[k, 0] = _row_total(x, squares, begin, ends[k])
            else:
                sums[k, 0] = _block_total(x, squares, lanes, begin, ends[k])
            begin = ends[k]
        return _settled(x, sums)

    return squares_kernel


@njit(error_model="numpy")
def _settled(x, sums):
    """Return whether all sums are in range: `sums.settled`, compiled."""
    least = TRUSTED if x.itemsize == 4 else 0.0
    for total in sums.flat:  # noqa: SIM110
        if not least <= total < math.inf:
            return False
    return True


@njit(error_model="numpy")
def _row_total(x, squares, begin, end):
    """Return the sum of a small tensor's squares."""
    total = 0.0
    for start in range(begin, end, ROW):
        size = min(ROW, end - start)
        for i in range(size):
            squares[0][i] = x[start + i] * x[start + i]
        total += row_sums(squares, 0, size)[0]
    return total


@njit(error_model="numpy")
def _block_total(x, squares, lanes, begin, end):
    """Return the sum of a block's squares."""
    _clear(lanes)
    for tile in range(begin, end, TILE):
        _clear(squares)
        for start in range(tile, min(tile + TILE, end), LANES):
            for i in range(min(LANES, end - start)):
                squares[0][i] += x[start + i] * x[start + i]
        _add(lanes, squares)
    return _total(lanes[0])


def _adam(sources):
    """Return the kernel of a step: it updates a chunk, fills `sums`, and returns whether all are in range. Without
    AMSGrad, v stands for v_max."""

    def adam_kernel(old, new, numbers, flags, ends, small, sums):
        assert sources
        if small:
            _tensors(old, new, numbers, flags, ends, sums)
        else:
            _blocks(old, new, numbers, flags, ends, sums)
        fence()
        return _settled(old[0], sums)

    return adam_kernel


@njit(error_model="numpy")
def _tensors(old, new, numbers, flags, ends, sums):
    """Update small tensors as one vector, and sum each row's squares as soon as the row is complete."""
    g, flags = old[0], (flags[0], flags[1], flags[2], False)
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
    """Update the blocks of a large tensor."""
    g, begin, past_cache = old[0], 0, True
    for array in new:
        past_cache = past_cache and array.ctypes.data % LINE == 0
    flags = flags[0], flags[1], flags[2], past_cache
    room = stack(g, ROOM)
    first = _apart(address(room), old, new) // g.itemsize
    squares = moved(room, first), moved(room, first + APART), moved(room, first + 2 * APART)
    lanes = stack(float64, LANES), stack(float64, LANES), stack(float64, LANES)
    for k in range(ends.size):
        _clear(lanes)
        for tile in range(begin, ends[k], TILE):
            _clear(squares)
            stop = min(tile + TILE, ends[k])
            for start in range(tile, stop, LANES):
                adam(True, old, new, squares, numbers, flags, start, min(start + LANES, stop), 0)
            _add(lanes, squares)
        for j in range(3):
            sums[k, j] = _total(lanes[j])
        begin = ends[k]


@njit(error_model="numpy")
def _apart(at, old, new):
    """Return the offset in bytes at which the squares go into the room at address `at`: as far as possible from all
    vectors, modulo the size of a page. A load whose address agrees with a recent store's in these bits waits for that
    store."""
    size = old[0].itemsize
    best, most = 0, -1
    for shift in range(0, LANES * size, LINE):
        least = LANES * size
        for j in range(3):
            for k in range(4):
                place = at + shift + j * APART * size
                for other in (place - old[k + 1].ctypes.data, place - new[k].ctypes.data):
                    least = min(least, other % (LANES * size), -other % (LANES * size))
        if least > most:
            best, most = shift, least
    return best


_SOURCES = crc32(b"".join(Path(__file__).with_name(name).read_bytes() for name in ("fused_loops.py", "sums.py")))
"""A number for the content of the other files that the kernels are compiled from. Numba finds a kernel in its cache by
the kernel's own file and the values of the outer variables that it reads, so the kernels read this one."""
_ADAM = _compiled(_adam(_SOURCES), _signature(float32), _signature(float64))
_SQUARES = _compiled(_squares(_SOURCES), *[types.boolean(_read(number), *_CHUNK) for number in (float32, float64)])
