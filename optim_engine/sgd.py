"""Stochastic gradient descent with momentum.

    b ← g                                   a tensor's first update
    b ← μ·b + (1−τ)·g                       the later ones; τ is the dampening
    d ← g + μ·b  (Nesterov),  b,  or g where there is no momentum
    θ ← θ − γ·d

Momentum: Polyak 1964, in PyTorch's form, where γ is outside of b. Nesterov: Sutskever et al. 2013. Weight decay is L2:
λ·θ is in g already. The buffer b is kept as `m`.
"""

import numpy as np

from optim_engine.arrays import Array, Arrays
from optim_engine.hyperparameters import SGD


def init(h: SGD) -> tuple[str, ...]:
    return ("m",) if h.momentum else ()


def advance(h: SGD, t: int, g: Array, old: Arrays, new: Arrays, tmp: Array) -> None:
    """The momentum buffer with the gradient of the tensor's t-th update taken in."""
    if not h.momentum:
        return
    b = new["m"]
    if t == 1:
        b[:] = g
        return
    np.multiply(g, 1 - h.dampening, out=tmp)
    np.multiply(old["m"], h.momentum, out=b)
    np.add(b, tmp, out=b)


def apply(h: SGD, t: int, γ: float, θ: Array, g: Array, s: Arrays, out: Array, tmp: Array) -> None:
    """The new parameter."""
    d = s["m"] if h.momentum else g
    if h.nesterov:
        np.multiply(d, h.momentum, out=tmp)
        d = np.add(g, tmp, out=tmp)
    np.multiply(d, γ, out=tmp)
    np.subtract(θ, tmp, out=out)
