"""Prodigy: Adam whose learning rate is an estimate of the distance to the solution.

    γ̂ = d·γ·√(1−β₂ᵗ)/(1−β₁ᵗ)                with `use_bias_correction`, else d·γ
    m ← β₁·m + (1−β₁)·d·g
    v ← β₂·v + (1−β₂)·d²·g²
    s ← β₃·s + d/d₀·γ̂·g                     β₃ is `beta3`, or √β₂;  with `safeguard_warmup`, d for γ̂
    n ← β₃·n + Σ d/d₀·γ̂·g·(θ₀ − θ)          θ₀ is the tensor's first θ; n is 0 at first
    d̂ = c·n / Σ|s|                          c is `d_coef`
    d ← max(d, d̂)                           only while d is d₀, which it is at first
    δ ← max(δ, d̂),  d ← min(δ, κ·d)         δ is `d_max`, κ `growth_rate`; without κ, d ← δ
    θ ← θ − γ̂·λ·θ                           with `decouple`, else g includes λ·θ
    θ ← θ − γ̂·m / (√v + d·ε)                γ̂ by the old d, √v + d·ε by the new one

The sums are over all elements of all tensors of the step, in float64. d, δ and n (`d_numerator`) are one number each
for all tensors of a session by this rule; each of them keeps a copy, which every step writes, also where it does not
name the tensor. A replay needs the old d too, which is kept as `d_last`.

Source: Mishchenko & Defazio 2024 (arXiv:2306.06101), in the form of prodigyopt. Deviations: t is each tensor's own;
groups may differ in lr; where Σ|s| is 0, d, δ and n stay and θ decays, and prodigyopt takes no step at all. Without
`slice_p`, by which prodigyopt estimates d from some of the elements.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan, sqrt

import numpy as np

from optim_engine.arrays import Array, Arrays, root
from optim_engine.averages import accumulate, correction
from optim_engine.fields import coefficients, flag, number, optional
from optim_engine.rule import At, Hyperparameters, SharingRule, Slot, scalar

WIDE = np.dtype(np.float64)


@dataclass(frozen=True, kw_only=True)
class Prodigy(Hyperparameters):
    """The hyperparameters of `prodigy`, with the names and defaults of prodigyopt 1.1.2."""

    lr: float = number(1.0, at_least=0)
    betas: tuple[float, float] = coefficients((0.9, 0.999))
    beta3: float | None = optional(number(at_least=0, below=1))
    eps: float = number(1e-8, above=0)
    decouple: bool = flag(True)
    use_bias_correction: bool = flag(False)
    safeguard_warmup: bool = flag(False)
    d0: float = number(1e-6, above=0)
    d_coef: float = number(1.0, above=0)
    growth_rate: float | None = optional(number(at_least=1))

    @property
    def decoupled(self) -> bool:
        return self.decouple

    @property
    def β3(self) -> float:
        """Return β₃."""
        return sqrt(self.betas[1]) if self.beta3 is None else self.beta3

    def rate(self, t: int, γ: float) -> float:
        """Return γ̂/d."""
        return γ * sqrt(correction(self.betas[1], t)) / correction(self.betas[0], t) if self.use_bias_correction else γ


class ProdigyRule(SharingRule[Prodigy]):
    """The equations above."""

    reference = "prodigyopt 1.1.2"
    settings = Prodigy
    common = ("betas", "beta3", "d0", "d_coef", "growth_rate")
    shared = ("d", "d_last", "d_max", "d_numerator")
    sums = 2
    keeps = Slot("m"), Slot("v"), Slot("s"), Slot("p0"), *(Slot(name, scalar, WIDE) for name in shared)
    wants_squares = True

    def shrink(self, at: At[Prodigy]) -> float:
        return 0.0

    def initial(self, h: Prodigy) -> Mapping[str, float]:
        return {"d": h.d0, "d_last": h.d0, "d_max": h.d0, "d_numerator": 0.0}

    def terms(self, at: At[Prodigy], θ: Array, g: Array, old: Arrays, out: Array) -> None:
        d = at.shared["d"]
        np.subtract(old["p0"] if at.t > 1 else θ, θ, out=out[0], dtype=WIDE)
        np.multiply(out[0], g, out=out[0])
        np.multiply(out[0], d / at.h.d0 * d * at.h.rate(at.t, at.γ), out=out[0])
        s = np.empty_like(g)
        self._sum(at, d, g, old, s, np.empty_like(g))
        np.abs(s, out=out[1])

    def share(self, h: Prodigy, before: Mapping[str, float], sums: Sequence[float]) -> Mapping[str, float]:
        d, largest = before["d"], before["d_max"]
        change, distance = sums
        if distance == 0:
            return {**before, "d_last": d}
        n = h.β3 * before["d_numerator"] + change
        estimate = h.d_coef * n / distance
        largest = max(largest, estimate)
        grown = max(d, estimate) if d == h.d0 else d
        now = largest if h.growth_rate is None else min(largest, grown * h.growth_rate)
        return {"d": now, "d_last": d, "d_max": largest, "d_numerator": nan if isnan(n) else n}

    def advance(self, at: At[Prodigy], g: Array, old: Arrays, new: Arrays, room: Array) -> None:
        (β1, β2), d = at.h.betas, at.shared["d_last"]
        np.multiply(room, d * d, out=room)
        accumulate(old["v"], room, β2, out=new["v"], scratch=room)
        np.multiply(g, d, out=room)
        accumulate(old["m"], room, β1, out=new["m"], scratch=room)
        self._sum(at, d, g, old, new["s"], room)
        np.copyto(new["p0"], old["p0"] if at.t > 1 else old["params"])
        for slot in self.shared:
            new[slot][...] = at.shared[slot]

    def _sum(self, at: At[Prodigy], d: float, g: Array, old: Arrays, out: Array, room: Array) -> None:
        """Fill `out` with s."""
        h = at.h
        np.multiply(g, d / h.d0 * d * (1.0 if h.safeguard_warmup else h.rate(at.t, at.γ)), out=room)
        np.multiply(old["s"], h.β3, out=out)
        np.add(out, room, out=out)

    def apply(self, at: At[Prodigy], θ: Array, g: Array, new: Arrays, out: Array, room: Array) -> None:
        h, γ = at.h, new["d_last"] * at.h.rate(at.t, at.γ)
        np.divide(new["m"], root(new["v"], at.spread(new["d"] * h.eps, out.dtype), out=out), out=out)
        np.multiply(out, at.spread(γ, out.dtype), out=out)
        if h.decouple and h.weight_decay:
            np.multiply(θ, at.spread(γ * h.weight_decay, room.dtype), out=room)
            np.add(out, room, out=out)
