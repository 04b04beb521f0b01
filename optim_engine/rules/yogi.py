"""Yogi: Adam whose second moment moves by a bounded amount at each update.

    m ← β₁·m + (1−β₁)·g                     m₀ = 10⁻⁶
    v ← v − (1−β₂)·sign(v − g²)·g²          v₀ = 10⁻⁶
    θ ← θ − γ·m̂ / (√v̂ + ε)                  m̂ = m/(1−β₁ᵗ),  v̂ = v/(1−β₂ᵗ); m and v without bias correction

Source: Zaheer et al. 2018 ("Adaptive Methods for Nonconvex Optimization"), in optax's form, which corrects the bias and
starts m at 10⁻⁶ too; the paper does neither. Additions: `bias_correction` false, and weight decay, which is L2: g
already includes λ·θ.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from optim_engine.arrays import Array, Arrays, root
from optim_engine.averages import accumulate, correction
from optim_engine.fields import coefficients, flag, number
from optim_engine.rule import At, Hyperparameters, Rule, Slot

START = 1e-6
"""The first m and v."""


@dataclass(frozen=True, kw_only=True)
class Yogi(Hyperparameters):
    """The hyperparameters of `yogi`, with the defaults of optax 0.2.8, which calls betas b1 and b2."""

    betas: tuple[float, float] = coefficients((0.9, 0.999))
    eps: float = number(1e-3, at_least=0)
    bias_correction: bool = flag(True)


class YogiRule(Rule[Yogi]):
    """The equations above. The parameter's has √(1−β₂ᵗ) outside of the root, as in `adam.py`."""

    reference = "optax 0.2.8"
    settings = Yogi
    keeps = Slot("m"), Slot("v")
    wants_squares = True

    def advance(self, at: At[Yogi], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        β1, β2 = at.h.betas
        m, v = (old["m"], old["v"]) if at.t > 1 else (np.full_like(g, START), np.full_like(g, START))
        np.minimum(room, np.finfo(room.dtype).max, out=room)  # ∞ − ∞ would be NaN for ever
        towards = np.sign(v - room)
        np.multiply(room, towards, out=room)
        np.multiply(room, 1 - β2, out=room)
        np.subtract(v, room, out=new["v"])
        accumulate(m, g, β1, out=new["m"], scratch=room)

    def apply(self, at: At[Yogi], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        bias1, bias2 = (correction(β, at.t) if at.h.bias_correction else 1.0 for β in at.h.betas)
        np.divide(new["m"], root(new["v"], at.h.eps * sqrt(bias2), out=out), out=out)
        np.multiply(out, at.γ * sqrt(bias2) / bias1, out=out)
