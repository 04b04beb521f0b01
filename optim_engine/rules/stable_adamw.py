"""StableAdamW: AdamW whose learning rate is lowered where a gradient exceeds the root of its second moment.

    m ← β̂₁·m + (1−β̂₁)·g                     β̂ₜ = β·(1−βᵗ⁻¹)/(1−βᵗ): corrected as they grow
    v ← β̂₂·v + (1−β̂₂)·g²
    γ' = γ / max(1, RMS(g / max(√v, ε)))    RMS(x) is √(mean of x²), over the tensor
    θ ← θ − γ'·λ·θ                          or γ'/γ_max·λ·θ with `decouple_lr`; γ_max is `max_lr`, or lr
    θ ← θ − γ'·m / (√v + ε)

Source: Wortsman et al. 2023 (arXiv:2304.13013), in the form of torch-optimi. Deviation: an lr of 0 with `decouple_lr`
needs `max_lr`.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from optim_engine.arrays import Array, Arrays, maximum
from optim_engine.averages import accumulate, correction
from optim_engine.errors import InvalidConfig
from optim_engine.fields import coefficients, flag, number, optional
from optim_engine.norms import norm
from optim_engine.rule import At, Hyperparameters, Rule, Slot, Unit


@dataclass(frozen=True, kw_only=True)
class StableAdamW(Hyperparameters):
    """The hyperparameters of `stable_adamw`, with the names and defaults of torch-optimi 0.3.3."""

    weight_decay: float = number(1e-2, at_least=0)
    betas: tuple[float, float] = coefficients((0.9, 0.99))
    eps: float = number(1e-6, at_least=0)
    decouple_lr: bool = flag(False)
    max_lr: float | None = optional(number(above=0))

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decouple_lr and not self.largest_lr:
            raise InvalidConfig("decouple_lr", "needs an lr above 0, or a `max_lr`; lr is 0")

    @property
    def largest_lr(self) -> float:
        """Return the largest learning rate, which divides the one of a step."""
        return self.lr if self.max_lr is None else self.max_lr

    @property
    def decoupled(self) -> bool:
        return True


class StableAdamWRule(Rule[StableAdamW]):
    """The equations above."""

    reference = "torch-optimi 0.3.3"
    settings = StableAdamW
    unit = Unit.TENSOR
    keeps = Slot("m"), Slot("v")
    wants_squares = True

    def shrink(self, at: At[StableAdamW]) -> float:
        return 0.0

    def advance(self, at: At[StableAdamW], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        β1, β2 = (β * correction(β, at.t - 1) / correction(β, at.t) for β in at.h.betas)
        accumulate(old["v"], room, β2, out=new["v"], scratch=room)
        accumulate(old["m"], g, β1, out=new["m"], scratch=room)

    def apply(self, at: At[StableAdamW], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        h = at.h
        np.sqrt(new["v"], out=room)
        maximum(room, h.eps, out=out)
        np.divide(g, out, out=out)
        γ = at.γ / max(1.0, norm([out]) / sqrt(max(g.size, 1)))
        np.add(room, h.eps, out=room)
        np.divide(new["m"], room, out=room)
        np.multiply(room, γ, out=room)
        np.multiply(θ, 1 - (γ / h.largest_lr if h.decouple_lr else γ) * h.weight_decay, out=out)
        np.subtract(θ, out, out=out)
        np.add(out, room, out=out)
