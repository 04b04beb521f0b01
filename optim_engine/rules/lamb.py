"""LAMB: Adam whose update of a tensor is scaled to the tensor's norm.

    m ← β₁·m + (1−β₁)·g
    v ← β₂·v + (1−β₂)·g²
    u = m̂ / (√(v̂ + ε₀) + ε) + λ·θ,   m̂ = m/(1−β₁ᵗ),   v̂ = v/(1−β₂ᵗ);   ε₀ is `eps_root`
    θ ← θ − γ·r·u,   r = ‖θ‖/‖u‖,  or 1 if either is 0

Source: You et al. 2020 (arXiv:1904.00962), in optax's form, where ‖θ‖ is not bounded. Weight decay is a part of u.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from optim_engine.arrays import Array, Arrays, multiply, root
from optim_engine.averages import accumulate, correction
from optim_engine.fields import coefficients, number
from optim_engine.norms import trust_ratio
from optim_engine.rule import At, Hyperparameters, Rule, Slot, Unit


@dataclass(frozen=True, kw_only=True)
class LAMB(Hyperparameters):
    """The hyperparameters of `lamb`, with the defaults of optax 0.2.8, which calls betas b1 and b2."""

    betas: tuple[float, float] = coefficients((0.9, 0.999))
    eps: float = number(1e-6, at_least=0)
    eps_root: float = number(0.0, at_least=0)

    @property
    def decoupled(self) -> bool:
        return True


class LAMBRule(Rule[LAMB]):
    """The equations above. The parameter's has √(1−β₂ᵗ) outside of the root, as in `adam.py`."""

    reference = "optax 0.2.8"
    settings = LAMB
    unit = Unit.TENSOR
    keeps = Slot("m"), Slot("v")
    wants_squares = True

    def shrink(self, at: At[LAMB]) -> float:
        return 0.0

    def advance(self, at: At[LAMB], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        β1, β2 = at.h.betas
        accumulate(old["v"], room, β2, out=new["v"], scratch=room)
        accumulate(old["m"], g, β1, out=new["m"], scratch=room)

    def apply(self, at: At[LAMB], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        bias1, bias2 = (correction(β, at.t) for β in at.h.betas)
        np.add(new["v"], at.h.eps_root * bias2, out=out)
        np.divide(new["m"], root(out, at.h.eps * sqrt(bias2), out=out), out=out)
        np.multiply(out, sqrt(bias2) / bias1, out=out)
        if at.h.weight_decay:
            np.multiply(θ, at.h.weight_decay, out=room)
            np.add(out, room, out=out)
        multiply(out, at.γ * trust_ratio(θ, out), out)
