"""NAdam: Adam with Nesterov's momentum.

    μₜ = β₁·(1 − ½·0.96^(t·ψ))              momentum, which grows towards β₁; ψ is `momentum_decay`
    Π ← Π·μₜ                                kept as `mu_product`, one number for each tensor, 1 at first
    m ← β₁·m + (1−β₁)·g
    v ← β₂·v + (1−β₂)·g²
    θ ← θ − γ·λ·θ                           only decoupled weight decay
    θ ← θ − γ·((1−μₜ)/(1−Π)·g + μₜ₊₁/(1−Π·μₜ₊₁)·m) / (√v̂ + ε),   v̂ = v/(1−β₂ᵗ)

Source: Dozat 2016 ("Incorporating Nesterov momentum into Adam"), in PyTorch's form, where m decays by β₁ and not by μₜ.
Deviations: Π is kept in float64, where PyTorch keeps float32; optax keeps none, and its μ is β₁. Π is a slot because it
does not follow from t once β₁ or ψ has changed. Weight decay that is not decoupled is L2: g already includes λ·θ.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from optim_engine.arrays import Array, Arrays, root
from optim_engine.averages import accumulate, correction
from optim_engine.fields import coefficients, flag, number
from optim_engine.rule import At, Hyperparameters, Rule, Slot, scalar
from optim_engine.scalars import power


@dataclass(frozen=True, kw_only=True)
class NAdam(Hyperparameters):
    """The hyperparameters of `nadam`, with the names and defaults of torch 2.13."""

    lr: float = number(2e-3, at_least=0)
    maximize: bool = flag(False)
    betas: tuple[float, float] = coefficients((0.9, 0.999))
    eps: float = number(1e-8, at_least=0)
    momentum_decay: float = number(4e-3, at_least=0)
    decoupled_weight_decay: bool = flag(False)
    cautious: bool = flag(False, later=True)

    @property
    def decoupled(self) -> bool:
        return self.decoupled_weight_decay

    def momentum(self, t: int) -> float:
        """Return μₜ, the momentum of the t-th update."""
        return self.betas[0] * (1 - 0.5 * power(0.96, t * self.momentum_decay))


class NAdamRule(Rule[NAdam]):
    """The equations above. The parameter's has √(1−β₂ᵗ) outside of the root, as in `adam.py`."""

    settings = NAdam
    keeps = Slot("m"), Slot("v"), Slot("mu_product", scalar, np.dtype(np.float64))
    wants_squares = True

    def advance(self, at: At[NAdam], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        β1, β2 = at.h.betas
        accumulate(old["v"], room, β2, out=new["v"], scratch=room)
        accumulate(old["m"], g, β1, out=new["m"], scratch=room)
        np.multiply(old["mu_product"] if at.t > 1 else 1.0, at.h.momentum(at.t), out=new["mu_product"])

    def apply(self, at: At[NAdam], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        product, μ, μ_next = new["mu_product"], at.h.momentum(at.t), at.h.momentum(at.t + 1)
        bias2 = sqrt(correction(at.h.betas[1], at.t))
        np.divide(new["m"], root(new["v"], at.h.eps * bias2, out=out), out=room)
        np.divide(g, out, out=out)
        np.multiply(room, at.spread(at.γ * bias2 * μ_next / (1 - product * μ_next), room.dtype), out=room)
        np.multiply(out, at.spread(at.γ * bias2 * (1 - μ) / (1 - product), out.dtype), out=out)
        np.add(out, room, out=out)
