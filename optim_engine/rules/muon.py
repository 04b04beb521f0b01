"""Muon: momentum, orthogonalized by the iteration of Newton and Schulz.

    m ← μ·m + (1−μ)·g
    d = (1−μ)·g + μ·m  (Nesterov),  or m
    X = d / max(‖d‖, ε)                     transposed if it has more rows than columns
    X ← a·X + (b·A + c·A²)·X,   A = X·Xᵀ    `ns_steps` times: all singular values come close to 1
    θ ← θ − γ·λ·θ
    θ ← θ − γ·ρ·X,   ρ = √max(1, rows/columns),  or  0.2·√max(rows, columns)  with `match_rms_adamw`

Sources: Jordan et al. 2024 (kellerjordan.github.io/posts/muon), in PyTorch's form; 0.2·√… is Liu et al. 2025
(arXiv:2502.16982). It updates matrices only. Deviations: PyTorch iterates in bfloat16, and its results are about 10⁻²
apart; here X is in float32, or float64 for float64 tensors. The bits of its matrix products depend on the machine.
"""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from optim_engine.arrays import Array, Arrays
from optim_engine.averages import accumulate
from optim_engine.fields import choice, flag, integer, number, optional, several
from optim_engine.norms import norm
from optim_engine.rule import At, Hyperparameters, Rule, Shape, Slot, Unit


@dataclass(frozen=True, kw_only=True)
class Muon(Hyperparameters):
    """The hyperparameters of `muon`, with the names and defaults of torch 2.13."""

    weight_decay: float = number(0.1, at_least=0)
    momentum: float = number(0.95, at_least=0)
    nesterov: bool = flag(True)
    ns_coefficients: tuple[float, float, float] = several((3.4445, -4.775, 2.0315), *[number()] * 3)
    eps: float = number(1e-7, at_least=0)
    ns_steps: int = integer(5, at_least=0, at_most=99)
    adjust_lr_fn: str | None = optional(choice("original", "match_rms_adamw"))

    @property
    def decoupled(self) -> bool:
        return True


class MuonRule(Rule[Muon]):
    """The equations above."""

    settings = Muon
    unit = Unit.TENSOR
    keeps = (Slot("m"),)
    bits = "machine"
    decays_biases = True

    def refusal(self, shape: Shape) -> str:
        if len(shape) == 2:
            return ""
        return f"has the shape {list(shape)}; muon updates matrices only"

    def advance(self, at: At[Muon], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        accumulate(old["m"], g, at.h.momentum, out=new["m"], scratch=room)

    def apply(self, at: At[Muon], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        d = new["m"]
        if at.h.nesterov:
            accumulate(d, g, at.h.momentum, out=out, scratch=room)
            d = out
        np.multiply(_orthogonal(at.h, d), at.γ * _ratio(at.h, *θ.shape), out=out)


def _orthogonal(h: Muon, d: Array) -> Array:
    """Return an approximation of the orthogonal matrix nearest to d."""
    a, b, c = h.ns_coefficients
    X = d / max(norm([d]), h.eps)
    tall = X.shape[0] > X.shape[1]
    X = X.T if tall else X
    for _ in range(h.ns_steps):
        A = X @ X.T
        X = a * X + (b * A + c * (A @ A)) @ X
    return X.T if tall else X


def _ratio(h: Muon, n: int, m: int) -> float:
    return 0.2 * sqrt(max(n, m)) if h.adjust_lr_fn == "match_rms_adamw" else sqrt(max(1, n / max(m, 1)))
