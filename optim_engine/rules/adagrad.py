"""Adagrad: the learning rate of an element falls with the sum of its squared gradients.

    v ← v + g²                              v₀ is `initial_accumulator_value`
    θ ← θ − γₜ·g / (√v + ε),   γₜ = γ/(1 + (t−1)·η)      η is `lr_decay`

Source: Duchi, Hazan & Singer 2011 (JMLR 12), in PyTorch's form; optax adds ε inside the root and starts v at 0.1.
Weight decay is L2: g already includes λ·θ.
"""

from dataclasses import dataclass

import numpy as np

from optim_engine.arrays import Array, Arrays, root
from optim_engine.fields import flag, number
from optim_engine.rule import At, Hyperparameters, Rule, Slot


@dataclass(frozen=True, kw_only=True)
class Adagrad(Hyperparameters):
    """The hyperparameters of `adagrad`, with the names and defaults of torch 2.13."""

    lr: float = number(1e-2, at_least=0)
    maximize: bool = flag(False)
    lr_decay: float = number(0.0, at_least=0)
    initial_accumulator_value: float = number(0.0, at_least=0)
    eps: float = number(1e-10, at_least=0)


class AdagradRule(Rule[Adagrad]):
    """The equations above."""

    settings = Adagrad
    keeps = (Slot("v"),)
    wants_squares = True

    def advance(self, at: At[Adagrad], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        v, v0 = old["v"], at.h.initial_accumulator_value
        if at.counts:
            (start,) = at.each(lambda t: (v0 if t == 1 else 0.0,), v.dtype)
            v = np.add(v, start, out=new["v"])
        np.add(room, v if at.t > 1 else v0, out=new["v"])

    def apply(self, at: At[Adagrad], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        np.divide(g, root(new["v"], at.h.eps, out=out), out=out)
        (γ,) = at.each(lambda t: (at.γ / (1 + (t - 1) * at.h.lr_decay),), out.dtype)
        np.multiply(out, γ, out=out)

    def refuses_rows(self, h: Adagrad) -> str:
        return ""
