"""Lion: the sign of a mean of the gradients.

    d = sign(β₁·m + (1−β₁)·g)               with the old m; kept as `update`, for a replay
    m ← β₂·m + (1−β₂)·g
    θ ← θ − γ·λ·θ
    θ ← θ − γ·d

Source: Chen et al. 2023 (arXiv:2302.06675), in the form of lion-pytorch. Deviation: lion-pytorch can divide λ by its
first γ (its `decoupled_weight_decay`); here, give λ/γ for that.
"""

from dataclasses import dataclass

import numpy as np

from optim_engine.arrays import Array, Arrays
from optim_engine.averages import accumulate
from optim_engine.fields import coefficients, number
from optim_engine.rule import At, Hyperparameters, Rule, Slot


@dataclass(frozen=True, kw_only=True)
class Lion(Hyperparameters):
    """The hyperparameters of `lion`, with the names and defaults of lion-pytorch 0.2.5."""

    lr: float = number(1e-4, at_least=0)
    betas: tuple[float, float] = coefficients((0.9, 0.99))

    @property
    def decoupled(self) -> bool:
        return True


class LionRule(Rule[Lion]):
    """The equations above."""

    settings = Lion
    keeps = Slot("m"), Slot("update", only_replay=True)

    def advance(self, at: At[Lion], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        β1, β2 = at.h.betas
        d = new["update"]
        accumulate(old["m"], g, β1, out=d, scratch=room)
        np.sign(d, out=d)
        accumulate(old["m"], g, β2, out=new["m"], scratch=room)

    def apply(self, at: At[Lion], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        np.multiply(new["update"], at.γ, out=out)
