"""Decoupled weight decay that rows catch up with.

    S = Σ log(1 − γ·λ)           over the steps that named the tensor
    θ ← θ · exp(S − S')          S' is the sum that the row has caught up with

S is a pair of float64: a number, and the remainder that its rounding left. So the difference of two sums keeps all its
digits after millions of steps. log and exp are computed from additions, multiplications and decimals alone: C libraries
differ in the last bit of theirs.
"""

from decimal import MAX_EMAX, MIN_EMIN, ROUND_HALF_EVEN, Context, Decimal
from functools import cache, lru_cache

import numpy as np

from optim_engine.arrays import Array, compute_dtype, convert, unify_nans, widened

PARTS = 64
"""exp is a power of two, times one of as many roots of two, times a short series."""
_EXACT = Context(prec=50, rounding=ROUND_HALF_EVEN, Emin=MIN_EMIN, Emax=MAX_EMAX, traps=[])
LEAST = -800.0
"""exp of less is 0."""


@lru_cache(maxsize=1024)
def log_of_rest(share: float) -> tuple[float, float]:
    """Return log(1 − share), for a share of 0 or more and below 1, as a float and its remainder."""
    return _pair(_EXACT.ln(_EXACT.subtract(Decimal(1), Decimal(share))))


def added(total: Array, share: float) -> Array:
    """Return the sum S with log(1 − share) added."""
    high, low = total.tolist()
    more, rest = log_of_rest(share)
    both = high + more
    back = both - high
    lost = (high - (both - back)) + (more - back) + (low + rest)
    result = both + lost
    return np.array([result, lost - (result - both)])


def factors(total: Array, sums: Array) -> Array:
    """Return exp(S − S') for each row of S', a matrix of pairs; 1 where there is nothing to catch up with."""
    if len(sums) == 1:
        return np.array([_exp(*(total - sums[0]))])
    return _exp(*(total - sums).T)


def caught_up(θ: Array, total: Array, sums: Array) -> Array:
    """Return rows of a parameter, one after the other, with decay caught up; `sums` has the S' of each.

    They are in the compute dtype, rounded to it once, unless no row has anything to catch up with.
    """
    alike = sums[:1] if (sums == sums[:1]).all() else sums
    late = np.flatnonzero((alike != total).any(axis=1))
    if not len(late):
        return θ
    wide = np.empty(θ.size, compute_dtype(θ.dtype))
    table, factor = wide.reshape(len(sums), -1), factors(total, alike[late])[:, None]
    if len(late) == len(alike):
        before, rows = widened(θ, wide).reshape(table.shape), table
    else:
        convert(θ, wide)
        before = rows = table[late]
    np.multiply(before, factor, out=rows, dtype=np.float64, casting="same_kind")
    if np.isnan(np.add.reduce(rows, axis=None)):
        unify_nans(rows.reshape(-1))
    if rows is not table:
        table[late] = rows
    return wide


def _exp(x: Array, rest: Array) -> Array:
    """Return the exponentials of x + rest, for x up to 0 and a rest that is tiny."""
    roots, rests, (whole, fraction) = _constants()
    x = np.maximum(x, LEAST)
    n = np.rint(x / whole)
    r = x - n * whole - n * fraction + rest
    series = 1 / 24 + r * (1 / 120 + r * (1 / 720))
    series = r + r * r * (0.5 + r * (1 / 6 + r * series))
    power = n.astype(np.int64)
    root = power & PARTS - 1
    exponentials: Array = np.ldexp(roots[root] + (rests[root] + roots[root] * series), power >> 6)
    return exponentials


@cache
def _constants() -> tuple[Array, Array, tuple[float, float]]:
    """Return the roots 2^(i/64), the remainders of their rounding, and log 2 / 64 as a number of 32 bits, so that small
    multiples of it are exact, and its remainder."""
    roots = [_pair(_EXACT.power(Decimal(2), Decimal(i) / PARTS)) for i in range(PARTS)]
    unit = _EXACT.ln(Decimal(2)) / PARTS
    whole = round(unit * 2**38) / 2**38
    fraction = float(_EXACT.subtract(unit, Decimal(whole)))
    highs, lows = np.array(roots).T
    return highs.copy(), lows.copy(), (whole, fraction)


def _pair(exact: Decimal) -> tuple[float, float]:
    high = float(exact)
    return high, float(_EXACT.subtract(exact, Decimal(high)))
