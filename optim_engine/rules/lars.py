"""LARS: momentum of gradients that are scaled to the norm of their tensor.

    r = c·‖θ‖ / (‖g‖ + ε),  or 1 if either is 0          c is `trust_coefficient`
    m ← μ·m + γ·r·g
    θ ← θ − (γ·r·g + μ·m)  (Nesterov),  or θ − m

Source: You, Gitman & Ginsburg 2017 (arXiv:1708.03888), in optax's form, where m includes γ, so a change of γ takes
effect slowly. Weight decay is L2: g already includes λ·θ.
"""

from dataclasses import dataclass

import numpy as np

from optim_engine.arrays import Array, Arrays, multiply
from optim_engine.fields import flag, number
from optim_engine.norms import norm
from optim_engine.rule import At, Hyperparameters, Rule, Slot, Unit


@dataclass(frozen=True, kw_only=True)
class LARS(Hyperparameters):
    """The hyperparameters of `lars`, with the names and defaults of optax 0.2.8."""

    trust_coefficient: float = number(1e-3, at_least=0)
    eps: float = number(0.0, at_least=0)
    momentum: float = number(0.9, at_least=0)
    nesterov: bool = flag(False)


class LARSRule(Rule[LARS]):
    """The equations above."""

    reference = "optax 0.2.8"
    settings = LARS
    unit = Unit.TENSOR
    keeps = (Slot("m"),)

    def measure(self, at: At[LARS], θ: Array, g: Array) -> float:
        """Return γ·r."""
        of_parameter, of_gradient = norm([θ]), norm([g])
        if not of_parameter or not of_gradient:
            return at.γ
        return at.γ * at.h.trust_coefficient * of_parameter / (of_gradient + at.h.eps)

    def advance(self, at: At[LARS], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        multiply(g, at.measured, room)
        np.multiply(old["m"], at.h.momentum, out=new["m"])
        np.add(new["m"], room, out=new["m"])

    def apply(self, at: At[LARS], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        if not at.h.nesterov:
            out[...] = new["m"]
            return
        multiply(g, at.measured, room)
        np.multiply(new["m"], at.h.momentum, out=out)
        np.add(room, out, out=out)
