"""Adam, AdamW and AMSGrad.

    m ← β₁·m + (1−β₁)·g                     first moment
    v ← β₂·v + (1−β₂)·g²                    second moment
    v_max ← max(v_max, v)                   only AMSGrad, where v_max replaces v below
    θ ← θ − γ·λ·θ                           only decoupled weight decay
    θ ← θ − γ·m̂ / (√v̂ + ε),   m̂ = m/(1−β₁ᵗ),   v̂ = v/(1−β₂ᵗ);   m and v without bias correction

Sources: Adam is Kingma & Ba 2015 (arXiv:1412.6980), algorithm 1. AdamW is Loshchilov & Hutter 2019 (arXiv:1711.05101),
with PyTorch's γ·λ. AMSGrad is Reddi, Kale & Kumar 2018 (arXiv:1904.09237), with PyTorch's maximum of the raw v,
corrected afterwards; optax takes the maximum of the corrected v̂. Weight decay in Adam is L2: g already includes λ·θ.
Neither PyTorch nor optax has `bias_correction`.
"""

from dataclasses import dataclass
from math import sqrt
from typing import TypeAlias

import numpy as np

from optim_engine.arrays import Array, Arrays, maximum, root
from optim_engine.averages import accumulate, correction
from optim_engine.fields import coefficients, flag, number
from optim_engine.rule import At, Hyperparameters, Rule, Shape, Slot


@dataclass(frozen=True, kw_only=True)
class Adam(Hyperparameters):
    """The hyperparameters of `adam`, with the names and defaults of torch 2.13."""

    maximize: bool = flag(False)
    betas: tuple[float, float] = coefficients((0.9, 0.999))
    eps: float = number(1e-8, at_least=0)
    amsgrad: bool = flag(False)
    decoupled_weight_decay: bool = flag(False)
    bias_correction: bool = flag(True, later=True)
    cautious: bool = flag(False, later=True)

    @property
    def decoupled(self) -> bool:
        return self.decoupled_weight_decay


@dataclass(frozen=True, kw_only=True)
class AdamW(Hyperparameters):
    """The hyperparameters of `adamw`, with the names and defaults of torch 2.13."""

    weight_decay: float = number(1e-2, at_least=0)
    maximize: bool = flag(False)
    betas: tuple[float, float] = coefficients((0.9, 0.999))
    eps: float = number(1e-8, at_least=0)
    amsgrad: bool = flag(False)
    bias_correction: bool = flag(True, later=True)
    cautious: bool = flag(False, later=True)

    @property
    def decoupled(self) -> bool:
        return True


Either: TypeAlias = Adam | AdamW


def corrections(h: Either, t: int) -> tuple[float, float]:
    """Return 1−β₁ᵗ and √(1−β₂ᵗ), or ones without bias correction."""
    β1, β2 = h.betas
    return (correction(β1, t), sqrt(correction(β2, t))) if h.bias_correction else (1.0, 1.0)


class AdamRule(Rule[Either]):
    """The equations above. The parameter's is in the equivalent form of the paper's section 2, which takes fewer
    operations: γ·√(1−β₂ᵗ)/(1−β₁ᵗ) · m / (√v + ε·√(1−β₂ᵗ))."""

    keeps = Slot("m"), Slot("v"), Slot("v_max")
    wants_squares = True

    def __init__(self, settings: type[Either]) -> None:
        self.settings = settings

    def slots(self, h: Either, shape: Shape) -> tuple[str, ...]:
        return ("m", "v", "v_max") if h.amsgrad else ("m", "v")

    def advance(self, at: At[Either], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        β1, β2 = at.h.betas
        accumulate(old["v"], room, β2, out=new["v"], scratch=room)
        accumulate(old["m"], g, β1, out=new["m"], scratch=room)
        if at.h.amsgrad:
            maximum(old["v_max"], new["v"], out=new["v_max"])

    def apply(self, at: At[Either], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        def coefficients(t: int) -> tuple[float, float]:
            bias1, bias2 = corrections(at.h, t)
            return at.h.eps * bias2, at.γ * bias2 / bias1

        ε, γ = at.each(coefficients, out.dtype)
        np.divide(new["m"], root(new["v_max" if at.h.amsgrad else "v"], ε, out=out), out=out)
        np.multiply(out, γ, out=out)

    def refuses_rows(self, h: Either) -> str:
        return ""
