"""Stochastic gradient descent with momentum.

    b ← g                                   at a tensor's first update
    b ← μ·b + (1−τ)·g                       at the later ones; τ is the dampening
    d ← g + μ·b  (Nesterov),  b,  or g without momentum
    θ ← θ − γ·d

Sources: momentum is Polyak 1964, in PyTorch's form, where b does not include γ. Nesterov is Sutskever et al. 2013.
Weight decay is L2: g already includes λ·θ. The buffer b is kept as `m`.
"""

from dataclasses import dataclass

import numpy as np

from optim_engine.arrays import Array, Arrays
from optim_engine.errors import InvalidConfig
from optim_engine.fields import flag, number
from optim_engine.rule import At, Hyperparameters, Rule, Shape, Slot


@dataclass(frozen=True, kw_only=True)
class SGD(Hyperparameters):
    """The hyperparameters of `sgd`, with the names and defaults of torch 2.13."""

    maximize: bool = flag(False)
    momentum: float = number(0.0, at_least=0)
    dampening: float = number(0.0)
    nesterov: bool = flag(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            given = f"they are {self.momentum:g} and {self.dampening:g}"
            raise InvalidConfig("nesterov", f"needs a momentum above 0 and a dampening of 0; {given}")


class SGDRule(Rule[SGD]):
    """The equations above."""

    settings = SGD
    keeps = (Slot("m"),)

    def slots(self, h: SGD, shape: Shape) -> tuple[str, ...]:
        return ("m",) if h.momentum else ()

    def advance(self, at: At[SGD], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        if not at.h.momentum:
            return
        b = new["m"]
        if at.t == 1:
            b[:] = g
            return
        np.multiply(g, 1 - at.h.dampening, out=room)
        np.multiply(old["m"], at.h.momentum, out=b)
        np.add(b, room, out=b)

    def apply(self, at: At[SGD], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        d = new["m"] if at.h.momentum else g
        if at.h.nesterov:
            np.multiply(d, at.h.momentum, out=out)
            d = np.add(g, out, out=out)
        np.multiply(d, at.γ, out=out)

    def refuses_rows(self, h: SGD) -> str:
        return "takes rows only without momentum: set it to 0, or send zeros for the other rows" if h.momentum else ""
