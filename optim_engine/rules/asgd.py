"""ASGD: gradient descent with an average of the parameter.

    ηₜ = γ / (1 + κ·γ·(t−1))^α              κ is `lambd`
    θ ← θ − ηₜ·κ·θ
    θ ← θ − ηₜ·g
    x ← x + μₜ·(θ − x),   μₜ = 1/max(1, t−1−t₀)          the average, kept as `ax`

Source: Polyak & Juditsky 1992 ("Acceleration of Stochastic Approximation by Averaging"), in PyTorch's form. Until t₀,
the average is the parameter. Deviations: PyTorch computes ηₜ with the γ of the update before, which differs only after
a change of γ, and keeps it in the tensor's default dtype. Weight decay is L2: g already includes λ·θ.
"""

from dataclasses import dataclass

import numpy as np

from optim_engine.arrays import Array, Arrays
from optim_engine.fields import flag, number
from optim_engine.rule import At, Hyperparameters, Rule, Slot
from optim_engine.scalars import power


@dataclass(frozen=True, kw_only=True)
class ASGD(Hyperparameters):
    """The hyperparameters of `asgd`, with the names and defaults of torch 2.13."""

    lr: float = number(1e-2, at_least=0)
    maximize: bool = flag(False)
    lambd: float = number(1e-4, at_least=0)
    alpha: float = number(0.75, at_least=0)
    t0: float = number(1e6, at_least=0)

    def rate(self, t: int, γ: float) -> float:
        """Return ηₜ."""
        return γ / power(1 + self.lambd * γ * (t - 1), self.alpha)


class ASGDRule(Rule[ASGD]):
    """The equations above."""

    settings = ASGD
    keeps = (Slot("ax"),)

    def shrink(self, at: At[ASGD]) -> float:
        return at.h.rate(at.t, at.γ) * at.h.lambd

    def advance(self, at: At[ASGD], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        """Do nothing: the average follows the parameter."""

    def apply(self, at: At[ASGD], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        np.multiply(g, at.h.rate(at.t, at.γ), out=out)

    def follow(self, at: At[ASGD], θ: Array, old: Arrays, new: Arrays) -> None:
        μ = 1 / max(1.0, at.t - 1 - at.h.t0)
        new["ax"][...] = θ if μ == 1 else old["ax"] + (θ - old["ax"]) * μ
