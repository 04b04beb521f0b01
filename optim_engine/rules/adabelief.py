"""AdaBelief: Adam whose second moment is of the distance of the gradients from their mean.

    m ← β₁·m + (1−β₁)·g
    v ← β₂·v + (1−β₂)·(g − m)² + ε₀         ε₀ is `eps_root`, added at each update
    m̂ = m/(1−β₁ᵗ),  or  β₁·m/(1−β₁ᵗ⁺¹) + (1−β₁)·g/(1−β₁ᵗ)  with Nesterov
    θ ← θ − γ·m̂ / (√v̂ + ε),   v̂ = v/(1−β₂ᵗ)

Source: Zhuang et al. 2020 (arXiv:2010.07468), in optax's form. Addition: weight decay, which is L2: g already
includes λ·θ.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from optim_engine.arrays import Array, Arrays, root
from optim_engine.averages import accumulate, correction
from optim_engine.fields import coefficients, flag, number
from optim_engine.rule import At, Hyperparameters, Rule, Slot


@dataclass(frozen=True, kw_only=True)
class AdaBelief(Hyperparameters):
    """The hyperparameters of `adabelief`, with the defaults of optax 0.2.8, which calls betas b1 and b2."""

    betas: tuple[float, float] = coefficients((0.9, 0.999))
    eps: float = number(1e-16, at_least=0)
    eps_root: float = number(1e-16, at_least=0)
    nesterov: bool = flag(False)


class AdaBeliefRule(Rule[AdaBelief]):
    """The equations above. The parameter's has √(1−β₂ᵗ) outside of the root, as in `adam.py`."""

    reference = "optax 0.2.8"
    settings = AdaBelief
    keeps = Slot("m"), Slot("v")

    def advance(self, at: At[AdaBelief], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        β1, β2 = at.h.betas
        accumulate(old["m"], g, β1, out=new["m"], scratch=room)
        np.subtract(g, new["m"], out=room)
        np.multiply(room, room, out=room)
        accumulate(old["v"], room, β2, out=new["v"], scratch=room)
        np.add(new["v"], at.h.eps_root, out=new["v"])

    def apply(self, at: At[AdaBelief], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        β1, β2 = at.h.betas
        bias1, bias2, m = correction(β1, at.t), sqrt(correction(β2, at.t)), new["m"]
        if at.h.nesterov:
            np.multiply(m, β1 * bias1 / correction(β1, at.t + 1), out=room)
            np.multiply(g, 1 - β1, out=out)
            m = np.add(room, out, out=room)
        np.divide(m, root(new["v"], at.h.eps * bias2, out=out), out=out)
        np.multiply(out, at.γ * bias2 / bias1, out=out)
