"""AdEMAMix: AdamW with a second, much slower mean of the gradients.

    m ← β₁·m + (1−β₁)·g
    n ← β₃·n + (1−β₃)·g                     kept as `m_slow`
    v ← β₂·v + (1−β₂)·g²
    θ ← θ − γ·λ·θ
    θ ← θ − γ·(m̂ + α·n) / (√(v̂ + ε₀) + ε),   m̂ = m/(1−β₁ᵗ),   v̂ = v/(1−β₂ᵗ);   ε₀ is `eps_root`

Source: Pagliardini, Ablin & Grangier 2024 (arXiv:2409.03137), in optax's form: n is not corrected, so that it fills
slowly, and α and β₃ are constant, where the paper raises them over a warmup.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from optim_engine.arrays import Array, Arrays, root
from optim_engine.averages import accumulate, correction
from optim_engine.fields import coefficients, number
from optim_engine.rule import At, Hyperparameters, Rule, Slot


@dataclass(frozen=True, kw_only=True)
class AdEMAMix(Hyperparameters):
    """The hyperparameters of `ademamix`, with the defaults of optax 0.2.8, which calls betas b1, b2 and b3."""

    betas: tuple[float, float, float] = coefficients((0.9, 0.999, 0.9999))
    alpha: float = number(5.0, at_least=0)
    eps: float = number(1e-8, at_least=0)
    eps_root: float = number(0.0, at_least=0)

    @property
    def decoupled(self) -> bool:
        return True


class AdEMAMixRule(Rule[AdEMAMix]):
    """The equations above. The parameter's has √(1−β₂ᵗ) outside of the root, as in `adam.py`."""

    reference = "optax 0.2.8"
    settings = AdEMAMix
    keeps = Slot("m"), Slot("v"), Slot("m_slow")
    wants_squares = True

    def advance(self, at: At[AdEMAMix], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        β1, β2, β3 = at.h.betas
        accumulate(old["v"], room, β2, out=new["v"], scratch=room)
        accumulate(old["m"], g, β1, out=new["m"], scratch=room)
        accumulate(old["m_slow"], g, β3, out=new["m_slow"], scratch=room)

    def apply(self, at: At[AdEMAMix], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        β1, β2, _ = at.h.betas
        bias1, bias2 = correction(β1, at.t), correction(β2, at.t)
        np.multiply(new["m"], 1 / bias1, out=room)
        np.multiply(new["m_slow"], at.h.alpha, out=out)
        np.add(room, out, out=room)
        np.add(new["v"], at.h.eps_root * bias2, out=out)
        np.divide(room, root(out, at.h.eps * sqrt(bias2), out=out), out=out)
        np.multiply(out, at.γ * sqrt(bias2), out=out)
