"""Adadelta: the update is measured by the updates before it.

    v ← ρ·v + (1−ρ)·g²
    d = √(u + ε) / √(v + ε) · g             with the old u; kept as `update`, for a replay
    u ← ρ·u + (1−ρ)·d²                      kept as `delta`
    θ ← θ − γ·d

Source: Zeiler 2012 (arXiv:1212.5701), where γ is 1. Weight decay is L2: g already includes λ·θ.
"""

from dataclasses import dataclass

import numpy as np

from optim_engine.arrays import Array, Arrays
from optim_engine.averages import accumulate
from optim_engine.fields import flag, number
from optim_engine.rule import At, Hyperparameters, Rule, Slot


@dataclass(frozen=True, kw_only=True)
class Adadelta(Hyperparameters):
    """The hyperparameters of `adadelta`, with the names and defaults of torch 2.13."""

    lr: float = number(1.0, at_least=0)
    maximize: bool = flag(False)
    rho: float = number(0.9, at_least=0, at_most=1)
    eps: float = number(1e-6, at_least=0)


class AdadeltaRule(Rule[Adadelta]):
    """The equations above."""

    settings = Adadelta
    keeps = Slot("v"), Slot("update", only_replay=True), Slot("delta")
    wants_squares = True

    def advance(self, at: At[Adadelta], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        ρ, ε, d = at.h.rho, at.h.eps, new["update"]
        accumulate(old["v"], room, ρ, out=new["v"], scratch=room)
        np.add(new["v"], ε, out=room)
        np.sqrt(room, out=room)
        np.add(old["delta"], ε, out=d)
        np.sqrt(d, out=d)
        np.divide(d, room, out=d)
        np.multiply(d, g, out=d)
        np.multiply(d, d, out=room)
        accumulate(old["delta"], room, ρ, out=new["delta"], scratch=room)

    def apply(self, at: At[Adadelta], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        np.multiply(new["update"], at.γ, out=out)
