"""Adam in one pass over memory, compiled by numba: the only file that names it, imported where it is installed.

Moments and parameters are those of `walk.py` to the bit: the same operations of IEEE 754 in the same order, with
coefficients that were rounded once. Sums of squares alone are added in an order of the compiler's choice. Other rules
and half precision are left to NumPy's walk; gradients that only travelled in halves are widened by NumPy before.

The results are not read again before they have left the cache, so they go straight to memory, past it: a plain store
would read each line before it overwrites it. That needs whole, aligned cache lines, so some are gathered on the stack
first.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import float32, float64, njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from optim_engine import walk
from optim_engine.arrays import Array, widened
from optim_engine.averages import correction
from optim_engine.buffers import scratch
from optim_engine.hyperparameters import Adam, AdamW
from optim_engine.norms import SMALLEST_TRUSTED
from optim_engine.walk import Sums, Update, Vectors

LINE = 64
"""Bytes of a cache line."""
GROUP = 256
"""Elements that are gathered before they go to memory."""
SUMMED = 32 * GROUP
"""Elements whose squares are added up in their own dtype."""


def advance(update: Update, run: Vectors) -> Sums:
    """Update a part of a run."""
    h, dtype = update.h, run.old["params"].dtype
    in_place = _address(run.old["params"]) == _address(run.new["params"])
    if in_place or not isinstance(h, Adam | AdamW) or dtype not in SMALLEST_TRUSTED:
        return walk.advance(update, run)
    last = "v_max" if h.amsgrad else "v"
    old, new = ([vectors[slot] for slot in ("params", "m", "v", last)] for vectors in (run.old, run.new))
    inputs = [np.ascontiguousarray(array) for array in (_in(dtype, run.g), *old)]
    gradient, rule = _coefficients(update, h, dtype)
    decays = bool(h.weight_decay) and not h.decoupled
    adam = _BARE if gradient[:2] == (1, math.inf) and not decays else _WHOLE
    return Sums(*adam(*inputs, *new, gradient, rule, decays, h.amsgrad, SMALLEST_TRUSTED[dtype]))


@np.errstate(all="ignore")
def _in(dtype: np.dtype[Any], g: Array) -> Array:
    """The gradient in the dtype that is computed in."""
    return g if g.dtype == dtype else widened(g, scratch(1, len(g), dtype)[0])


@lru_cache(maxsize=16)
@np.errstate(all="ignore")
def _coefficients(update: Update, h: Adam | AdamW, dtype: np.dtype[Any]) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """What the gradient and the rule are computed with, rounded once to the dtype; the same for all chunks of a run."""
    number = dtype.type
    β1, β2 = h.betas
    bias1, bias2 = correction(β1, update.t), math.sqrt(correction(β2, update.t))
    gradient = (
        number(-update.clip_scale if h.maximize else update.clip_scale),
        number(math.inf if update.clip_value is None else update.clip_value),
        number(0 if h.decoupled else h.weight_decay),
    )
    rule = (
        *(number(β1), number(1 - β1), number(β2), number(1 - β2)),
        *(number(h.eps * bias2), number(update.γ * bias2 / bias1)),
        number(1 - update.γ * h.weight_decay if h.decoupled else 1),
    )
    return gradient, rule


def _address(array: Array) -> int:
    return int(array.__array_interface__["data"][0])


@intrinsic(prefer_literal=True)
def _stack(typing: Any, like: Any, size: Any) -> Any:
    """Room for that many elements of the array's dtype on the stack."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        element = context.get_value_type(like.dtype)
        room = cgutils.alloca_once(builder, ir.ArrayType(element, size.literal_value))
        room.align = LINE
        return builder.bitcast(room, element.as_pointer())

    return types.CPointer(like.dtype)(like, size), generate


@intrinsic
def _store_line(typing: Any, target: Any, at: Any, source: Any, start: Any) -> Any:
    """A cache line's elements from `start` on to the array, from `at` on, and past the cache."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        line = ir.VectorType(ir.IntType(8), LINE).as_pointer()
        to, i, source, j = arguments
        data = context.make_array(target)(context, builder, to).data
        loaded = builder.load(builder.bitcast(builder.gep(source, [j]), line), align=1)
        stored = builder.store(loaded, builder.bitcast(builder.gep(data, [i]), line), align=LINE)
        stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))
        return context.get_dummy_value()

    return types.void(target, at, source, start), generate


@intrinsic
def _fence(typing: Any) -> Any:
    """What was stored past the cache is there for other threads as well."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.void(), generate


@njit(fastmath={"reassoc", "nsz"})
def _add_square(total, x):
    """In whatever order is fast; nothing else may be."""
    return total + x * x


@njit(error_model="numpy")
def _copy(group, target):
    """Where whole lines cannot be stored."""
    for i in range(target.size):
        target[i] = group[i]


@njit(error_model="numpy")
def _exact_sums(g, θ, result):
    """The sums of squares in float64, where those in the arrays' dtype left its range."""
    gradients = change = params = 0.0
    for i in range(g.size):
        gradients += float64(g[i]) ** 2
        change += float64(result[i] - θ[i]) ** 2
        params += float64(result[i]) ** 2
    return gradients, change, params


def _signature(number: Any) -> Any:
    read = types.Array(number, 1, "C", readonly=True, aligned=False)
    write = types.Array(number, 1, "C", aligned=False)
    sums = types.UniTuple(types.float64, 3)
    numbers = types.UniTuple(number, 3), types.UniTuple(number, 7)
    return sums(*[read] * 5, *[write] * 4, *numbers, *[types.boolean] * 2, types.float64)


def _compiled(function: Any) -> Any:
    """For both dtypes, when this file is imported; kept for the next time where there is a folder to write to."""
    signatures, how = [_signature(float32), _signature(float64)], {"nogil": True, "error_model": "numpy"}
    try:
        return njit(signatures, cache=True, **how)(function)
    except RuntimeError:
        return njit(signatures, **how)(function)


def _adam(bare: bool) -> Any:  # noqa: C901
    """The kernel. The bare one takes a gradient as it is: it has neither clipping nor L2, nor what they cost."""

    @_compiled
    def adam(  # noqa: C901
        g_, θ_, m_, v_, v_max_, new_θ, new_m, new_v, new_v_max, gradient, rule, decays, amsgrad, trusted
    ):
        """The equations of `adam.py`, element by element. Without AMSGrad, v stands for v_max."""
        c, bound, λ = gradient
        β1, rest1, β2, rest2, ε, γ, decay = rule
        past_cache = (new_θ.ctypes.data | new_m.ctypes.data | new_v.ctypes.data | new_v_max.ctypes.data) % LINE == 0
        sums = (0.0, 0.0, 0.0)
        zero = c - c
        θ_group, m_group = _stack(g_, GROUP), _stack(g_, GROUP)
        v_group, v_max_group = _stack(g_, GROUP), _stack(g_, GROUP)
        for first in range(0, g_.size, SUMMED):
            gradients = change = params = zero
            last = min(first + SUMMED, g_.size)
            for start in range(first, last, GROUP):
                size = min(GROUP, last - start)
                end = start + size
                gs, θs, ms, vs, v_maxs = g_[start:end], θ_[start:end], m_[start:end], v_[start:end], v_max_[start:end]
                for i in range(size):
                    g, θ = gs[i], θs[i]
                    gradients = _add_square(gradients, g)
                    if not bare:
                        g = g * c
                        g = max(-bound, g)
                        g = min(bound, g)
                        if decays:
                            g = g + θ * λ
                    m = ms[i] * β1 + g * rest1
                    v = vs[i] * β2 + g * g * rest2
                    m_group[i], v_group[i] = m, v
                    if amsgrad:
                        v = v_maxs[i] if v_maxs[i] >= v or v_maxs[i] != v_maxs[i] else v
                        v_max_group[i] = v
                    result = θ * decay - m / (math.sqrt(v) + ε) * γ
                    θ_group[i] = result
                    change = _add_square(change, result - θ)
                    params = _add_square(params, result)
                if past_cache and size == GROUP:
                    for i in range(0, GROUP, LINE // g_.itemsize):
                        _store_line(new_θ, start + i, θ_group, i)
                        _store_line(new_m, start + i, m_group, i)
                        _store_line(new_v, start + i, v_group, i)
                        if amsgrad:
                            _store_line(new_v_max, start + i, v_max_group, i)
                else:
                    _copy(θ_group, new_θ[start:end])
                    _copy(m_group, new_m[start:end])
                    _copy(v_group, new_v[start:end])
                    if amsgrad:
                        _copy(v_max_group, new_v_max[start:end])
            part = (float64(gradients), float64(change), float64(params))
            if not (trusted < min(part) and part[0] + part[1] + part[2] < math.inf):
                part = _exact_sums(g_[first:last], θ_[first:last], new_θ[first:last])
            sums = (sums[0] + part[0], sums[1] + part[1], sums[2] + part[2])
        _fence()
        return sums

    return adam


_BARE, _WHOLE = _adam(True), _adam(False)
