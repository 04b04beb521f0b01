"""Lion: the sign of a mean of the gradients.

    d = sign(β₁·m + (1−β₁)·g)               with the old m; kept as `update`, for a replay
    m ← β₂·m + (1−β₂)·g
    θ ← θ − γ·λ·θ                           or γ/γ₀·λ·θ with `decoupled_weight_decay`; γ₀ is lr
    θ ← θ − γ·d

Source: Chen et al. 2023 (arXiv:2302.06675), in the form of lion-pytorch. Deviation: γ₀ is the lr of the tensor's group;
lion-pytorch divides every group's λ by the optimizer's lr.
"""

from dataclasses import dataclass

import numpy as np

from optim_engine.arrays import Array, Arrays
from optim_engine.averages import accumulate
from optim_engine.errors import InvalidConfig
from optim_engine.fields import coefficients, flag, number
from optim_engine.rule import At, Hyperparameters, Rule, Slot


@dataclass(frozen=True, kw_only=True)
class Lion(Hyperparameters):
    """The hyperparameters of `lion`, with the names and defaults of lion-pytorch 0.2.5."""

    lr: float = number(1e-4, at_least=0)
    betas: tuple[float, float] = coefficients((0.9, 0.99))
    decoupled_weight_decay: bool = flag(False)
    cautious: bool = flag(False)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.decoupled_weight_decay and not self.lr:
            raise InvalidConfig("decoupled_weight_decay", "needs an lr above 0; it is 0")

    @property
    def decoupled(self) -> bool:
        return True


class LionRule(Rule[Lion]):
    """The equations above."""

    reference = "lion-pytorch 0.2.5"
    settings = Lion
    keeps = Slot("m"), Slot("update", only_replay=True)

    def shrink(self, at: At[Lion]) -> float:
        h = at.h
        return at.γ * (h.weight_decay / h.lr if h.decoupled_weight_decay else h.weight_decay)

    def advance(self, at: At[Lion], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        β1, β2 = at.h.betas
        d = new["update"]
        accumulate(old["m"], g, β1, out=d, scratch=room)
        np.sign(d, out=d)
        accumulate(old["m"], g, β2, out=new["m"], scratch=room)

    def apply(self, at: At[Lion], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        np.multiply(new["update"], at.γ, out=out)
