"""Adamax: Adam with the largest recent gradient instead of the second moment.

    m ← β₁·m + (1−β₁)·g
    u ← max(β₂·u, |g| + ε)
    θ ← θ − γ·m̂ / u,   m̂ = m/(1−β₁ᵗ)

Source: Kingma & Ba 2015 (arXiv:1412.6980), section 7.1, in PyTorch's form, where ε is inside the maximum; the paper has
none. Weight decay is L2: g already includes λ·θ.
"""

from dataclasses import dataclass

import numpy as np

from optim_engine.arrays import Array, Arrays, maximum
from optim_engine.averages import accumulate, correction
from optim_engine.fields import coefficients, flag, number
from optim_engine.rule import At, Hyperparameters, Rule, Slot


@dataclass(frozen=True, kw_only=True)
class Adamax(Hyperparameters):
    """The hyperparameters of `adamax`, with the names and defaults of torch 2.13."""

    lr: float = number(2e-3, at_least=0)
    maximize: bool = flag(False)
    betas: tuple[float, float] = coefficients((0.9, 0.999))
    eps: float = number(1e-8, at_least=0)


class AdamaxRule(Rule[Adamax]):
    """The equations above."""

    settings = Adamax
    keeps = Slot("m"), Slot("u")

    def advance(self, at: At[Adamax], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        β1, β2 = at.h.betas
        accumulate(old["m"], g, β1, out=new["m"], scratch=room)
        np.abs(g, out=room)
        np.add(room, at.h.eps, out=room)
        np.multiply(old["u"], β2, out=new["u"])
        maximum(new["u"], room, out=new["u"])

    def apply(self, at: At[Adamax], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        np.divide(new["m"], new["u"], out=out)
        np.multiply(out, at.γ / correction(at.h.betas[0], at.t), out=out)
