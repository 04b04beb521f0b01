"""Rprop: each element has a step of its own, which grows while its gradient keeps its sign.

    e = sign(g·g₋)                          g₋ is `g_last`, 0 at first
    s ← min(max(s·η₊, s₋), s₊)              where e > 0;  s is `step_size`, and γ at first
    s ← min(max(s·η₋, s₋), s₊),  g ← 0      where e < 0
    g₋ ← g
    θ ← θ − s·sign(g)

Source: Riedmiller & Braun 1993 ("A Direct Adaptive Method for Faster Backpropagation Learning"), in PyTorch's form. η₋
and η₊ are `etas`; s₋ and s₊ are `step_sizes`, within which s is held at each update. γ is used at a tensor's first
update alone. Weight decay, which PyTorch does not have here, is L2: g already includes λ·θ.
"""

from dataclasses import dataclass

import numpy as np

from optim_engine.arrays import Array, Arrays
from optim_engine.errors import InvalidConfig
from optim_engine.fields import flag, number, several
from optim_engine.rule import At, Hyperparameters, Rule, Slot


@dataclass(frozen=True, kw_only=True)
class Rprop(Hyperparameters):
    """The hyperparameters of `rprop`, with the names and defaults of torch 2.13."""

    lr: float = number(1e-2, at_least=0)
    maximize: bool = flag(False)
    etas: tuple[float, float] = several((0.5, 1.2), number(above=0, below=1), number(above=1))
    step_sizes: tuple[float, float] = several((1e-6, 50.0), *[number(at_least=0)] * 2)

    def __post_init__(self) -> None:
        super().__post_init__()
        least, most = self.step_sizes
        if least > most:
            raise InvalidConfig("step_sizes", f"the first must be at most the second; they are {least:g} and {most:g}")


class RpropRule(Rule[Rprop]):
    """The equations above."""

    settings = Rprop
    keeps = Slot("g_last"), Slot("step_size")

    def advance(self, at: At[Rprop], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        (shrinking, growing), (least, most) = at.h.etas, at.h.step_sizes
        last, s = new["g_last"], new["step_size"]
        np.multiply(g, old["g_last"], out=room)
        same, turned = room > 0, room < 0
        np.copyto(s, old["step_size"] if at.t > 1 else at.γ)
        np.multiply(s, growing, out=s, where=same)
        np.multiply(s, shrinking, out=s, where=turned)
        np.clip(s, least, most, out=s)
        np.add(s, 0.0, out=s)  # the larger of −0 and 0 may be either
        np.copyto(last, g)
        np.copyto(last, 0, where=turned)

    def apply(self, at: At[Rprop], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        np.sign(new["g_last"], out=out)
        np.multiply(out, new["step_size"], out=out)
