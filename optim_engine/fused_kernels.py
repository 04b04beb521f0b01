"""The fused kernels, compiled by numba: a rule's update in one pass over memory, and sums of squares alone. A kernel is
compiled, or loaded from numba's cache, for one dtype when it is first asked for.

Where new values replace the old ones, plain stores hit the lines that were just read. Elsewhere results are stored past
the cache, because a plain store reads each line before it overwrites it. Such stores need whole, aligned cache lines.
"""

import math
from pathlib import Path
from threading import Lock
from typing import Any
from zlib import crc32

from numba import float64, from_dtype, literally, njit, types

from optim_engine.fused_cache import KernelCache, NotKept
from optim_engine.fused_loops import LINE, LINES, address, fence, moved, row_sums, stack, update
from optim_engine.sums import FEWER, LANES, ROW, TILE, TRUSTED

SQUARES = ROW + LANES
"""Elements: the remainder of a row, and the next rows."""
APART = LANES + 64
"""Elements from the start of one vector's squares to that of the next."""
LARGE = 2.0**20
"""The sum of a lane's squares of the change from which on they are also added in float64."""
ROOM = 4 * LANES + 2 * 64
"""Elements that hold the squares of three vectors, at any offset in a page."""
NUMBERS = 10
"""The coefficients of a rule, with those of its gradient."""


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


def _signature(name: str, number: Any) -> Any:
    if name == "squares":
        return types.boolean(_read(number), *_CHUNK)
    old, new = types.UniTuple(_read(number), 5), types.UniTuple(_written(number), 4)
    return types.boolean(old, new, types.UniTuple(float64, NUMBERS), types.UniTuple(types.boolean, 5), *_CHUNK)


def _compiled(function: Any, signature: Any, name: str, *, compiles: bool = True) -> Any:
    """Return the function compiled for the signature, or as it was kept; None if it would have to be compiled and must
    not be."""
    kernel = njit(nogil=True, error_model="numpy")(function)
    kernel._cache = KernelCache(function)
    try:
        kernel.compile(signature)
    except NotKept:
        if not compiles:
            return None
        with kernel._cache.compiling(name):
            kernel.compile(signature)
    kernel.disable_compile()
    return kernel


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
def _square(lanes, x):
    """Add the squares of a row of lanes."""
    for i in range(x.size):
        lanes[i] += x[i] * x[i]


@njit(error_model="numpy")
def _block_total(x, squares, lanes, begin, end):
    """Return the sum of a block's squares."""
    _clear(lanes)
    for tile in range(begin, end, TILE):
        _clear(squares)
        for start in range(tile, min(tile + TILE, end), LANES):
            _square(squares[0], x[start : min(start + LANES, end)])
        _add(lanes, squares)
    return _total(lanes[0])


def _updating(rule, sources):
    """Return the kernel of a rule's step: it updates a chunk, fills `sums`, and returns whether all are in range."""

    def kernel(old, new, numbers, flags, ends, small, sums):
        assert sources
        if small:
            _tensors(rule, old, new, numbers, flags, ends, sums)
        else:
            _blocks(rule, old, new, numbers, flags, ends, sums)
        fence()
        return _settled(old[0], sums)

    return kernel


@njit(error_model="numpy")
def _tensors(rule, old, new, numbers, flags, ends, sums):
    """Update small tensors as one vector, and sum each row's squares as soon as the row is complete."""
    g = old[0]
    squares = stack(g, SQUARES), stack(g, SQUARES), stack(g, SQUARES)
    of = old, new, squares, stack(float64, 1), numbers, (False, *flags)
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
                update(literally(rule), "rows", of, done, end, done - ready)
                done, ready, taken = end, ready + end - done, 0
            row = row_sums(squares, taken, size)
            gradients, change, params = gradients + row[0], change + row[1], params + row[2]
            start, ready, taken = start + size, ready - size, taken + size
        sums[k, 0], sums[k, 1], sums[k, 2] = gradients, change, params


@njit(error_model="numpy")
def _blocks(rule, old, new, numbers, flags, ends, sums):
    """Update the blocks of a large tensor.

    Where they replace the old parameters, a sum of the change cannot be computed again. So squares of the change are
    added in float64 too, until a lane is large enough, and from where one grows large. A sum that is out of range then
    lacks nothing that counts: less than 2³³ of at least 2¹²⁸.
    """
    g, begin = old[0], 0
    watched = g.itemsize == 4 and old[1].ctypes.data == new[0].ctypes.data
    room = stack(g, ROOM)
    first = _apart(address(room), old, new) // g.itemsize
    squares = moved(room, first), moved(room, first + APART), moved(room, first + 2 * APART)
    lanes = stack(float64, LANES), stack(float64, LANES), stack(float64, LANES)
    total, exact = stack(float64, LANES), stack(float64, LANES)
    bound = LARGE if watched else math.inf
    of = old, new, squares, exact, (*numbers, bound), (_goes_past_cache(old, new), *flags)
    for k in range(ends.size):
        _clear((*lanes, total, exact))
        careful = watched
        for tile in range(begin, ends[k], TILE):
            _clear(squares)
            at, end = tile, min(tile + TILE, ends[k])
            whole = end - (end - tile) % (LINES * LINE // g.itemsize)
            kept = careful
            if careful:
                at = update(literally(rule), "exact", of, tile, min(tile + LANES, end), tile)
                careful = not _fits(squares[1])
            if not careful and at < whole:
                at = update(literally(rule), "tiles", of, at, whole, tile)
                careful = watched and at < whole
            if at < end:
                update(literally(rule), "exact", of, at, end, tile)
            _add(lanes, squares)
            if kept or careful:
                _add((total,), (exact,))
                _clear((exact,))
        sums[k, 0], sums[k, 1], sums[k, 2] = _total(lanes[0]), _total(lanes[1]), _total(lanes[2])
        if watched and not TRUSTED <= sums[k, 1] < math.inf:
            sums[k, 1] = _total(total)
        begin = ends[k]


@njit(error_model="numpy")
def _goes_past_cache(old, new):
    """Return whether all that is written starts with a cache line, and none of it replaces what is read."""
    for j in range(len(new)):  # noqa: SIM110
        if new[j].ctypes.data % LINE or new[j].ctypes.data == old[j + 1].ctypes.data:
            return False
    return True


@njit(error_model="numpy")
def _fits(change):
    """Return whether the sums of the change's lanes are small, and one large enough."""
    seen, large = False, False
    for i in range(LANES):
        seen = seen or change[i] >= TRUSTED
        large = large or not change[i] < LARGE
    return seen and not large


@njit(error_model="numpy")
def _apart(at, old, new):
    """Return the offset in bytes at which the squares go into the room at address `at`: as far as possible from all
    vectors, modulo the size of a page. A load whose address agrees with a recent store's in these bits waits for that
    store."""
    size = old[0].itemsize
    best, most, mask = 0, -1, LANES * size - 1
    for shift in range(0, LANES * size, LINE):
        least = LANES * size
        for j in range(3):
            place = at + shift + j * APART * size
            for k in range(len(old)):
                for other in (place - old[k].ctypes.data, place - new[max(k - 1, 0)].ctypes.data):
                    least = min(least, other & mask, -other & mask)
        if least > most:
            best, most = shift, least
    return best


_LOOPS = "fused_loops.py", "fused_rules.py", "sums.py"
_SOURCES = crc32(b"".join(Path(__file__).with_name(name).read_bytes() for name in _LOOPS))
"""A number for the content of the other files that the kernels are compiled from. Numba finds a kernel in its cache by
the kernel's own file and the values of the outer variables that it reads, so the kernels read this one."""
_LOADED: dict[tuple[str, Any], Any] = {}
_LOADING = Lock()


def load(name: str, dtype: Any, *, compiles: bool = True) -> Any:
    """Return the kernel of that name for float32 or float64; None if it must not be compiled but would have to be."""
    with _LOADING:
        if (name, dtype) not in _LOADED:
            signature = _signature(name, from_dtype(dtype))
            kernel = _compiled(function_of(name), signature, f"{name}-{dtype}", compiles=compiles)
            if kernel is None:
                return None
            _LOADED[name, dtype] = kernel
        return _LOADED[name, dtype]


def kernel_of(name: str, dtype: Any) -> Any:
    """Return the kernel of that name for float32 or float64, loaded or compiled at the first call."""
    return _LOADED.get((name, dtype)) or load(name, dtype)


def function_of(name: str) -> Any:
    """Return the function that the kernel of that name is compiled from."""
    return _squares(_SOURCES) if name == "squares" else _updating(name, _SOURCES)
