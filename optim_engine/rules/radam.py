"""RAdam: Adam whose learning rate is rectified while the second moment has seen few gradients.

    m ← β₁·m + (1−β₁)·g
    v ← β₂·v + (1−β₂)·g²
    ρ∞ = 2/(1−β₂) − 1,   ρₜ = ρ∞ − 2t·β₂ᵗ/(1−β₂ᵗ)
    r = √((ρₜ−4)·(ρₜ−2)·ρ∞ / ((ρ∞−4)·(ρ∞−2)·ρₜ))
    θ ← θ − γ·λ·θ                           only decoupled weight decay
    θ ← θ − γ·r·m̂·√(1−β₂ᵗ) / (√v + ε)       where ρₜ > 5
    θ ← θ − γ·m̂                             otherwise;   m̂ = m/(1−β₁ᵗ)

Source: Liu et al. 2020 (arXiv:1908.03265), in PyTorch's form: rectified from ρₜ > 5, where the paper has 4; ε is added
to √v before the correction. Weight decay that is not decoupled is L2: g already includes λ·θ.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from optim_engine.arrays import Array, Arrays, root
from optim_engine.averages import accumulate, correction
from optim_engine.fields import coefficients, flag, number
from optim_engine.rule import At, Hyperparameters, Rule, Slot
from optim_engine.scalars import power


@dataclass(frozen=True, kw_only=True)
class RAdam(Hyperparameters):
    """The hyperparameters of `radam`, with the names and defaults of torch 2.13."""

    maximize: bool = flag(False)
    betas: tuple[float, float] = coefficients((0.9, 0.999))
    eps: float = number(1e-8, at_least=0)
    decoupled_weight_decay: bool = flag(False)

    @property
    def decoupled(self) -> bool:
        return self.decoupled_weight_decay

    def rectification(self, t: int) -> float | None:
        """Return r of the t-th update; `None` if ρₜ is at most 5."""
        β2 = self.betas[1]
        ρ_inf = 2 / (1 - β2) - 1
        ρ = ρ_inf - 2 * t * power(β2, t) / correction(β2, t)
        return sqrt((ρ - 4) * (ρ - 2) * ρ_inf / ((ρ_inf - 4) * (ρ_inf - 2) * ρ)) if ρ > 5 else None


class RAdamRule(Rule[RAdam]):
    """The equations above."""

    settings = RAdam
    keeps = Slot("m"), Slot("v")
    wants_squares = True

    def advance(self, at: At[RAdam], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        β1, β2 = at.h.betas
        accumulate(old["v"], room, β2, out=new["v"], scratch=room)
        accumulate(old["m"], g, β1, out=new["m"], scratch=room)

    def apply(self, at: At[RAdam], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        β1, β2 = at.h.betas
        γ, r = at.γ / correction(β1, at.t), at.h.rectification(at.t)
        if r is None:
            np.multiply(new["m"], γ, out=out)
            return
        np.divide(new["m"], root(new["v"], at.h.eps, out=out), out=out)
        np.multiply(out, γ * r * sqrt(correction(β2, at.t)), out=out)
