"""Adafactor: the second moment of a matrix, factored into the means of its rows and columns.

    w = t^κ                                 κ is `beta2_decay`: w starts at 1 and falls
    R ← (1−w)·R + w·(row means of g²)       kept as `v_row`, for each matrix of a stack
    C ← (1−w)·C + w·(column means of g²)    kept as `v_col`
    V = R·C / max(mean of R, ε₁)            for a matrix
    V ← (1−w)·V + w·g²                      for a vector or a single number, kept as `v`
    u = g / max(√V, ε₁)
    α = max(ε₂, RMS(θ)) · min(γ, 1/√t)
    θ ← θ − γ·λ·θ
    θ ← θ − α/max(1, RMS(u)/d) · u          RMS(x) is √(mean of x²)

Source: Shazeer & Stern 2018 (arXiv:1804.04235), in PyTorch's form: every tensor of two dimensions or more is factored.
Deviations: optax factors a tensor only if both dimensions are at least 128, and adds ε₁ to g², as the paper does. If ε₁
is null, PyTorch uses the distance from 1 to the next number in the tensor's dtype; here it is the compute dtype's, so
that a step in half precision is the float32 step. Means are taken in float64.
"""

from dataclasses import dataclass
from math import prod, sqrt

import numpy as np

from optim_engine import arrays
from optim_engine.arrays import Array, Arrays, maximum
from optim_engine.fields import flag, number, optional, several
from optim_engine.norms import norm
from optim_engine.rule import At, Hyperparameters, Rule, Shape, Slot, Unit, columns, rows
from optim_engine.scalars import power
from optim_engine.sums import FEWER, in_order


@dataclass(frozen=True, kw_only=True)
class Adafactor(Hyperparameters):
    """The hyperparameters of `adafactor`, with the names and defaults of torch 2.13."""

    lr: float = number(1e-2, at_least=0)
    maximize: bool = flag(False)
    beta2_decay: float = number(-0.8, at_most=0)
    eps: tuple[float | None, float] = several((None, 1e-3), optional(number(at_least=0)), number(at_least=0))
    d: float = number(1.0, at_least=1)

    @property
    def decoupled(self) -> bool:
        return True


class AdafactorRule(Rule[Adafactor]):
    """The equations above. V of a matrix is computed as (R / mean of R)·C, which cannot underflow where R·C would."""

    settings = Adafactor
    unit = Unit.TENSOR
    keeps = Slot("v"), Slot("v_row", rows), Slot("v_col", columns)

    def slots(self, h: Adafactor, shape: Shape) -> tuple[str, ...]:
        return ("v_row", "v_col") if len(shape) > 1 else ("v",)

    def advance(self, at: At[Adafactor], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        w = power(at.t, at.h.beta2_decay)
        if g.ndim > 1:
            by_row, by_column = _square_means(g)
            _average(old["v_row"], by_row.reshape(new["v_row"].shape), w, out=new["v_row"])
            _average(old["v_col"], by_column.reshape(new["v_col"].shape), w, out=new["v_col"])
        else:
            _average(old["v"], np.multiply(g, g, out=room), w, out=new["v"])

    def apply(self, at: At[Adafactor], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        ε1, ε2 = at.h.eps
        ε1 = float(np.finfo(g.dtype).eps) if ε1 is None else ε1
        if g.ndim > 1:
            R, C = new["v_row"], new["v_col"]
            mean = np.maximum(_mean(R), ε1).astype(R.dtype)
            np.multiply((R / mean[..., None])[..., None], C[..., None, :], out=out)
        else:
            out[...] = new["v"]
        np.sqrt(out, out=out)
        maximum(out, ε1, out=out)
        np.divide(g, out, out=out)
        α = max(ε2, _rms(θ)) * min(at.γ, 1 / sqrt(at.t))
        np.multiply(out, α / max(1.0, _rms(out) / at.h.d), out=out)


def _average(s: Array, x: Array, w: float, *, out: Array) -> None:
    """Compute out ← (1−w)·s + w·x; `out` may be s."""
    x = x * w
    np.multiply(s, 1 - w, out=out)
    np.add(out, x, out=out)


def _rms(x: Array) -> float:
    return norm([x]) / sqrt(max(x.size, 1))


def _mean(R: Array) -> Array:
    """Return the means over the last dimension in float64, added in order."""
    lists = R.reshape(prod(R.shape[:-1]), R.shape[-1]).astype(np.float64)
    means: Array = _added(lists.T) / max(R.shape[-1], 1)
    return means.reshape(R.shape[:-1])


def _square_means(g: Array) -> tuple[Array, Array]:
    """Return the means of the squares of each row and of each column, for a matrix or each matrix of a stack.

    They are added in float64 in order, and rounded to the array's dtype.
    """
    n, m = g.shape[-2:]
    stack = g.reshape(prod(g.shape[:-2]), n, m)
    by_row, by_column = np.zeros((len(stack), n)), np.zeros((len(stack), m))
    step = max(1, arrays.BLOCK // max(m, 1))
    above = np.zeros((1 + min(step, n), m))
    for i, matrix in enumerate(stack):
        for part in arrays.cut(n, step):
            end = 1 + part.stop - part.start
            above[0] = by_column[i]
            squares = np.square(matrix[part], out=above[1:end], dtype=np.float64)
            by_row[i, part] = _added(squares.T)
            by_column[i] = _added(above[:end])
    return (by_row / max(m, 1)).astype(g.dtype), (by_column / max(n, 1)).astype(g.dtype)


def _added(x: Array) -> Array:
    """Return the sum of each column of a float64 matrix, added in order."""
    sums: Array = np.add.reduce(np.ascontiguousarray(x), axis=0) if x.shape[1] >= FEWER else in_order(x)[0]
    return sums
