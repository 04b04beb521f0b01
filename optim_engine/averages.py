"""The exponentially weighted average, bias-corrected: what the moments of Adam are.

    s₀ = 0,   sₜ = β·sₜ₋₁ + (1−β)·xₜ,   ŝₜ = sₜ / (1−βᵗ)

The correction makes ŝ a true weighted mean from the first value on: s alone starts at zero and is too small by the
factor 1−βᵗ (Kingma & Ba 2015, section 3).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from optim_engine.arrays import Array
from optim_engine.errors import InvalidConfig
from optim_engine.scalars import power


def accumulate(s: Array, x: Array, β: float, *, out: Array, scratch: Array) -> None:
    """out ← β·s + (1−β)·x; `out` may be `s`, `scratch` may be `x`."""
    np.multiply(x, 1 - β, out=scratch)
    np.multiply(s, β, out=out)
    np.add(out, scratch, out=out)


def correction(β: float, t: int) -> float:
    """1 − βᵗ: what part of a weighted mean the first t values make."""
    return 1 - power(β, t)


@dataclass(frozen=True)
class Average:
    """The running average of an array, such as a parameter over the steps. A value: `advance` gives the next one."""

    β: float
    s: Array
    t: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.β < 1:
            raise InvalidConfig("β", f"{self.β} is out of range: at least 0, below 1")

    @classmethod
    def of_shape(cls, shape: tuple[int, ...], β: float) -> Self:
        """The average of nothing yet, in float64."""
        return cls(β, np.zeros(shape))

    def advance(self, x: Array) -> "Average":
        """The average with `x` taken in. Raises `ValueError` for another shape: it would be repeated to fit."""
        if x.shape != self.s.shape:
            raise ValueError(f"the average is of shape {self.s.shape}, the array is of shape {x.shape}")
        wide, out = x.astype(self.s.dtype), np.empty_like(self.s)
        accumulate(self.s, wide, self.β, out=out, scratch=wide)
        return Average(self.β, out, self.t + 1)

    def value(self) -> Array:
        """ŝₜ. There is none before the first value: raises `ValueError`."""
        if not self.t:
            raise ValueError("the average of no values; advance it first")
        return self.s / correction(self.β, self.t)
