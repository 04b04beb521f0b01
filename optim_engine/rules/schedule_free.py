"""Schedule-free AdamW and SGD: a mean of the iterates instead of a schedule.

    γ̂ = γ·min(1, t/W)                       W is `warmup_steps`
    v ← β₂·v + (1−β₂)·g²                    only AdamW
    u = g / (√v̂ + ε) + λ·y                  AdamW;  v̂ = v/(1−β₂ᵗ)
    u = g + λ·y                             SGD
    z ← z − γ̂·u                             z is y at first
    Γ ← max(Γ, γ̂),  w = tʳ·Γᵖ               p is `weight_lr_power`
    Σ ← Σ + w,      c = w/Σ                 c is 0 where Σ is
    x ← (1−c)·x + c·z
    y ← (1−β)·z + β·x                       β is β₁, or `momentum`

Steps take gradients at y and answer y, which is θ. Beside it z is kept, and for each tensor Γ and Σ (`lr_max` and
`weight_sum`). The parameters to evaluate with are x = y + (1 − 1/β)·(z − y), so a change of β changes x. The last two
equations are computed as y ← y − c·(y − z) − (1−c)·(1−β)·γ̂·u, by the new z alone.

Source: Defazio et al. 2024 (arXiv:2405.15682), in the form of schedulefree, where w has Γ and r. Deviations: t, Γ and Σ
are each tensor's own; schedulefree has one of each for a group. β is above 0, because x is not known otherwise.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from math import sqrt
from typing import TypeVar

import numpy as np

from optim_engine.arrays import Array, Arrays, root
from optim_engine.averages import accumulate, correction
from optim_engine.fields import integer, number, several
from optim_engine.rule import At, Hyperparameters, Rule, Slot, scalar
from optim_engine.scalars import power

NUMBER = np.dtype(np.float64)


@dataclass(frozen=True, kw_only=True)
class ScheduleFree(Hyperparameters, ABC):
    """The hyperparameters of both rules."""

    warmup_steps: int = integer(0, at_least=0)
    r: float = number(0.0, at_least=0, at_most=10)
    weight_lr_power: float = number(2.0, at_least=0, at_most=10)

    @property
    @abstractmethod
    def β(self) -> float:
        """Return the share of x in y."""

    def rate(self, t: int, γ: float) -> float:
        """Return γ̂."""
        return γ * (t / self.warmup_steps) if t < self.warmup_steps else γ

    def weights(self, t: int, largest: Array) -> Array:
        """Return w of each tensor, by its Γ."""
        powers = [power(γ, self.weight_lr_power) for γ in largest.reshape(-1).tolist()]
        return np.array(powers).reshape(largest.shape) * power(t, self.r)


@dataclass(frozen=True, kw_only=True)
class ScheduleFreeAdamW(ScheduleFree):
    """The hyperparameters of `schedule_free_adamw`, with the names and defaults of schedulefree 1.4.1."""

    lr: float = number(2.5e-3, at_least=0)
    betas: tuple[float, float] = several((0.9, 0.999), number(above=0, below=1), number(at_least=0, below=1))
    eps: float = number(1e-8, at_least=0)

    @property
    def decoupled(self) -> bool:
        return True

    @property
    def β(self) -> float:
        return self.betas[0]


@dataclass(frozen=True, kw_only=True)
class ScheduleFreeSGD(ScheduleFree):
    """The hyperparameters of `schedule_free_sgd`, with the names and defaults of schedulefree 1.4.1."""

    lr: float = number(1.0, at_least=0)
    momentum: float = number(0.9, above=0, below=1)

    @property
    def β(self) -> float:
        return self.momentum


F = TypeVar("F", bound=ScheduleFree)


class ScheduleFreeRule(Rule[F]):
    """The equations above, but for v and u."""

    reference = "schedulefree 1.4.1"
    evaluates = True

    def shrink(self, at: At[F]) -> float:
        return 0.0

    def evaluated(self, h: F, θ: Array, slots: Arrays) -> Array:
        x: Array = θ + (1 - 1 / h.β) * (slots["z"] - θ)
        return x

    def advance(self, at: At[F], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        h, γ = at.h, at.h.rate(at.t, at.γ)
        np.maximum(old["lr_max"], γ, out=new["lr_max"])
        np.add(old["weight_sum"], h.weights(at.t, new["lr_max"]), out=new["weight_sum"])
        np.multiply(self.direction(at, g, new, room), γ, out=room)
        np.subtract(old["z"] if at.t > 1 else old["params"], room, out=new["z"])
        if decay := γ * h.weight_decay if h.decoupled else 0.0:
            np.multiply(old["params"], decay, out=room)
            np.subtract(new["z"], room, out=new["z"])

    def direction(self, at: At[F], g: Array, new: Arrays, out: Array) -> Array:
        """Return u without decoupled decay; `out` may be filled with it."""
        return g

    def apply(self, at: At[F], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        h, Σ = at.h, new["weight_sum"]
        c = np.divide(h.weights(at.t, new["lr_max"]), Σ, out=np.zeros_like(Σ), where=Σ > 0)
        γ = (1 - c) * ((1 - h.β) * h.rate(at.t, at.γ))
        np.multiply(self.direction(at, g, new, out), at.spread(γ, out.dtype), out=out)
        if h.decoupled and h.weight_decay:
            np.multiply(θ, at.spread(γ * h.weight_decay, room.dtype), out=room)
            np.add(out, room, out=out)
        np.subtract(θ, new["z"], out=room)
        np.multiply(room, at.spread(c, room.dtype), out=room)
        np.add(out, room, out=out)


class ScheduleFreeSGDRule(ScheduleFreeRule[ScheduleFreeSGD]):
    """The equations of SGD: decay is L2, so g already includes λ·y."""

    settings = ScheduleFreeSGD
    keeps = Slot("z"), Slot("weight_sum", scalar, NUMBER), Slot("lr_max", scalar, NUMBER)


class ScheduleFreeAdamWRule(ScheduleFreeRule[ScheduleFreeAdamW]):
    """The equations of AdamW, with √(1−β₂ᵗ) outside of the root as in `adam.py`."""

    settings = ScheduleFreeAdamW
    keeps = Slot("v"), *ScheduleFreeSGDRule.keeps
    wants_squares = True

    def advance(self, at: At[ScheduleFreeAdamW], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        accumulate(old["v"], room, at.h.betas[1], out=new["v"], scratch=room)
        super().advance(at, g, old, new, room)

    def direction(self, at: At[ScheduleFreeAdamW], g: Array, new: Arrays, out: Array) -> Array:
        bias2 = sqrt(correction(at.h.betas[1], at.t))
        np.divide(g, root(new["v"], at.h.eps * bias2, out=out), out=out)
        return np.multiply(out, bias2, out=out)
