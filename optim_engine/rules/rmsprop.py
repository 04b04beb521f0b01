"""RMSProp.

    v ← α·v + (1−α)·g²
    m ← α·m + (1−α)·g                       only centered: the mean, so that v − m² is the variance
    d ← g / (√v + ε)   or   g / (√(v − m²) + ε)
    b ← μ·b + d                             only with momentum, where b replaces d below
    θ ← θ − γ·d

Sources: Tieleman & Hinton 2012 (Coursera, lecture 6e); centered is Graves 2013 (arXiv:1308.0850). As in PyTorch, ε is
outside the root (optax adds it inside) and nothing is bias-corrected. Deviation: rounding can make v − m² negative,
which is NaN in PyTorch and 0 here. Weight decay is L2: g already includes λ·θ.
"""

from dataclasses import dataclass

import numpy as np

from optim_engine.arrays import Array, Arrays
from optim_engine.averages import accumulate
from optim_engine.fields import flag, number
from optim_engine.rule import At, Hyperparameters, Rule, Shape, Slot


@dataclass(frozen=True, kw_only=True)
class RMSprop(Hyperparameters):
    """The hyperparameters of `rmsprop`, with the names and defaults of torch 2.13."""

    lr: float = number(1e-2, at_least=0)
    maximize: bool = flag(False)
    alpha: float = number(0.99, at_least=0, below=1)
    eps: float = number(1e-8, at_least=0)
    momentum: float = number(0.0, at_least=0)
    centered: bool = flag(False)


class RMSpropRule(Rule[RMSprop]):
    """The equations above."""

    settings = RMSprop
    keeps = Slot("m"), Slot("v"), Slot("b")
    wants_squares = True

    def slots(self, h: RMSprop, shape: Shape) -> tuple[str, ...]:
        return (*(("m",) if h.centered else ()), "v", *(("b",) if h.momentum else ()))

    def advance(self, at: At[RMSprop], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        accumulate(old["v"], room, at.h.alpha, out=new["v"], scratch=room)
        if at.h.centered:
            accumulate(old["m"], g, at.h.alpha, out=new["m"], scratch=room)
        if at.h.momentum:
            np.multiply(old["b"], at.h.momentum, out=new["b"])
            np.add(new["b"], _scaled(at.h, g, new, room), out=new["b"])

    def apply(self, at: At[RMSprop], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        d = new["b"] if at.h.momentum else _scaled(at.h, g, new, out)
        np.multiply(d, at.γ, out=out)

    def refuses_rows(self, h: RMSprop) -> str:
        return ""


def _scaled(h: RMSprop, g: Array, new: Arrays, out: Array) -> Array:
    """Fill `out` with g / (√v + ε), or if centered, with g / (√(v − m²) + ε)."""
    if h.centered:
        np.multiply(new["m"], new["m"], out=out)
        np.subtract(new["v"], out, out=out)
        np.maximum(out, 0, out=out)
        np.sqrt(out, out=out)
    else:
        np.sqrt(new["v"], out=out)
    np.add(out, h.eps, out=out)
    return np.divide(g, out, out=out)
