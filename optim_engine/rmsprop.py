"""RMSProp.

    v ← α·v + (1−α)·g²
    m ← α·m + (1−α)·g                       centered: the mean, so that v − m² is the variance
    d ← g / (√v + ε)   or   g / (√(v − m²) + ε)
    b ← μ·b + d                             with momentum, and b then stands for d
    θ ← θ − γ·d

Tieleman & Hinton 2012 (Coursera, lecture 6e); centered: Graves 2013 (arXiv:1308.0850). As in PyTorch, ε is outside of
the root and nothing is bias-corrected. Rounding can make v − m² negative, where PyTorch gets NaN: here it is taken as
0. Weight decay is L2: λ·θ is in g already.
"""

import numpy as np

from optim_engine.arrays import Array, Arrays
from optim_engine.averages import accumulate
from optim_engine.hyperparameters import RMSprop


def init(h: RMSprop) -> tuple[str, ...]:
    return (*(("m",) if h.centered else ()), "v", *(("b",) if h.momentum else ()))


def advance(h: RMSprop, t: int, g: Array, old: Arrays, new: Arrays, tmp: Array) -> None:
    """The moments with the gradient of the tensor's t-th update taken in; `tmp` has its squares."""
    accumulate(old["v"], tmp, h.alpha, out=new["v"], scratch=tmp)
    if h.centered:
        accumulate(old["m"], g, h.alpha, out=new["m"], scratch=tmp)
    if h.momentum:
        np.multiply(old["b"], h.momentum, out=new["b"])
        np.add(new["b"], _scaled(h, g, new, tmp), out=new["b"])


def apply(h: RMSprop, t: int, γ: float, θ: Array, g: Array, s: Arrays, out: Array, tmp: Array) -> None:
    """The new parameter."""
    d = s["b"] if h.momentum else _scaled(h, g, s, tmp)
    np.multiply(d, γ, out=tmp)
    np.subtract(θ, tmp, out=out)


def _scaled(h: RMSprop, g: Array, s: Arrays, out: Array) -> Array:
    """out ← g / (√(v or the variance) + ε)"""
    if h.centered:
        np.multiply(s["m"], s["m"], out=out)
        np.subtract(s["v"], out, out=out)
        np.maximum(out, 0, out=out)
        np.sqrt(out, out=out)
    else:
        np.sqrt(s["v"], out=out)
    np.add(out, h.eps, out=out)
    return np.divide(g, out, out=out)
