"""The fused kernel: a rule's update in one pass over memory. Imported only where numba is installed.

Moments, parameters and sums equal those of `walk.py` to the bit: the same IEEE 754 operations in the same order, with
coefficients rounded once. The compiler may change none of it. NumPy's walk does rules without a form, half precision
and rows whose counts differ; NumPy also widens gradients that travelled as halves.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np

from optim_engine import walk
from optim_engine.arrays import Array, compute_dtype, unify_nans, widened
from optim_engine.buffers import scratch
from optim_engine.fused_forms import SQUARES, Form, form_of, loop_of
from optim_engine.fused_kernels import NUMBERS, kernel_of
from optim_engine.sums import Chunk, settle_chunk
from optim_engine.walk import Update, Vectors


def update_blocks(change: Update, run: Vectors, chunk: Chunk) -> Array:
    """Update a chunk of a run, and return the same sums of squares as `walk.update_blocks`."""
    θ, result = run.old["params"], run.new["params"]
    loop = loop_of(change.h, result.dtype)
    if loop is None or change.counts:
        return walk.update_blocks(change, run, chunk)
    in_place = np.may_share_memory(θ, result)
    if in_place and (chunk.small or θ.ctypes.data != result.ctypes.data):
        run, in_place = run._replace(old={**run.old, "params": θ.copy()}), False
    form, numbers, flags = _coefficients(change)
    sums = np.empty((len(chunk.ends), 3))
    if not kernel_of(*loop)(*_arrays(form, run), numbers, flags, chunk.ends, chunk.small, sums):
        _settle(sums, run, chunk, in_place)
    return sums


def _arrays(form: Form, run: Vectors) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Return what the kernel reads and what it writes. The parameter stands for a slot that the form does not have."""
    θ, result = np.ascontiguousarray(run.old["params"]), run.new["params"]
    g = np.ascontiguousarray(_in(θ.dtype, run.g))
    old = [run.old[slot] if slot else θ for slot in form.slots]
    return (g, θ, *old), (result, *[run.new[slot] if slot else result for slot in form.slots])


def _settle(sums: Array, run: Vectors, chunk: Chunk, in_place: bool) -> None:
    """Sum again in float64 where a sum is out of range, and unify NaNs, as `walk.py` does. The kernel has settled the
    sums of the change if the parameters before it are gone."""
    θ, result = run.old["params"], run.new["params"]
    if in_place:
        settle_chunk(sums[:, ::2], chunk, lambda at: [run.g[at], result[at]])
    else:
        settle_chunk(sums, chunk, lambda at: [run.g[at], result[at] - θ[at], result[at]])
    if np.isnan(sums[:, 2]).any():
        for x in run.new.values():
            unify_nans(x)


def squares(x: Array, chunk: Chunk) -> Array:
    """Return the sums of squares of a chunk, whose elements are `x`: [sums, 1]."""
    wide = np.ascontiguousarray(_in(compute_dtype(x.dtype), x))
    sums = np.empty((len(chunk.ends), 1))
    if not kernel_of(*SQUARES[wide.dtype])(wide, chunk.ends, chunk.small, sums):
        settle_chunk(sums, chunk, lambda at: [x[at]])
    return sums


def _in(dtype: np.dtype[Any], g: Array) -> Array:
    """Return the gradient in the compute dtype."""
    return g if g.dtype == dtype else widened(g, scratch(1, len(g), dtype)[0])


_ZEROS = (0.0,) * (NUMBERS - 3)


@lru_cache(maxsize=16)
def _coefficients(change: Update) -> tuple[Form, tuple[float, ...], tuple[bool, ...]]:
    """Return the form of an update, the kernel's coefficients, which it rounds once, and its flags. All chunks of a run
    share them."""
    h, form = change.h, form_of(change)
    scale = -change.clip_scale if h.maximize else change.clip_scale
    bound = math.inf if change.clip_value is None else change.clip_value
    of_gradient = scale, bound, 0.0 if h.decoupled else h.weight_decay
    decays = bool(h.weight_decay) and not h.decoupled
    flags = not (h.maximize or change.changes_gradient), decays, form.main, *form.flags
    return form, (*of_gradient, *form.numbers, *_ZEROS[len(form.numbers) :]), flags
