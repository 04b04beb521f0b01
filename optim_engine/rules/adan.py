"""Adan: Nesterov's momentum by the differences of gradients.

    d = g − g₋                              g₋ is `g_last`; d is 0 at first
    m ← β₁·m + (1−β₁)·g
    v ← β₂·v + (1−β₂)·d
    n ← β₃·n + (1−β₃)·(g + (1−β₂)·d)²
    θ ← θ − γ·λ·θ
    θ ← θ − γ·(m̂ + (1−β₂)·v̂) / (√(n̂ + ε₀) + ε)          ε₀ is `eps_root`

Source: Xie et al. 2022 (arXiv:2208.06677), in optax's form: m̂ = m/(1−β₁ᵗ), and v̂ and n̂ likewise. The paper writes
its betas as 1−β, and so weighs d and v̂ by optax's β₂, 0.92 by default; optax, and so this rule, by 1−β₂.
"""

from dataclasses import dataclass

import numpy as np

from optim_engine.arrays import Array, Arrays, root
from optim_engine.averages import accumulate, correction
from optim_engine.fields import coefficients, number
from optim_engine.rule import At, Hyperparameters, Rule, Slot


@dataclass(frozen=True, kw_only=True)
class Adan(Hyperparameters):
    """The hyperparameters of `adan`, with the defaults of optax 0.2.8, which calls betas b1, b2 and b3."""

    betas: tuple[float, float, float] = coefficients((0.98, 0.92, 0.99))
    eps: float = number(1e-8, at_least=0)
    eps_root: float = number(1e-8, at_least=0)

    @property
    def decoupled(self) -> bool:
        return True


class AdanRule(Rule[Adan]):
    """The equations above."""

    reference = "optax 0.2.8"
    settings = Adan
    keeps = Slot("m"), Slot("v"), Slot("g_last"), Slot("n")
    moments = "m", "n"

    def advance(self, at: At[Adan], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        β1, β2, β3 = at.h.betas
        d = g - old["g_last"] if at.t > 1 else np.zeros_like(g)
        accumulate(old["v"], d, β2, out=new["v"], scratch=room)
        np.multiply(d, 1 - β2, out=d)
        np.add(g, d, out=d)
        np.multiply(d, d, out=d)
        accumulate(old["n"], d, β3, out=new["n"], scratch=room)
        accumulate(old["m"], g, β1, out=new["m"], scratch=room)
        np.copyto(new["g_last"], g)

    def apply(self, at: At[Adan], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        bias1, bias2, bias3 = (correction(β, at.t) for β in at.h.betas)
        np.multiply(new["v"], (1 - at.h.betas[1]) / bias2, out=room)
        np.multiply(new["m"], 1 / bias1, out=out)
        np.add(out, room, out=room)
        np.multiply(new["n"], 1 / bias3, out=out)
        np.add(out, at.h.eps_root, out=out)
        np.divide(room, root(out, at.h.eps, out=out), out=out)
        np.multiply(out, at.γ, out=out)
