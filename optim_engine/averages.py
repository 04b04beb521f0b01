"""The exponentially weighted average with bias correction, which the moments of Adam are.

    s₀ = 0,   sₜ = β·sₜ₋₁ + (1−β)·xₜ,   ŝₜ = sₜ / (1−βᵗ)

The correction makes ŝ a true weighted mean from the first value on. Without it, s starts at zero and is too small by
the factor 1−βᵗ (Kingma & Ba 2015, section 3).
"""

from dataclasses import dataclass
from typing import Self

import numpy as np

from optim_engine.arrays import Array
from optim_engine.errors import InvalidConfig
from optim_engine.scalars import power


def accumulate(s: Array, x: Array, β: float, *, out: Array, scratch: Array) -> None:
    """Compute out ← β·s + (1−β)·x; `out` may be `s`, and `scratch` may be `x`."""
    np.multiply(x, 1 - β, out=scratch)
    np.multiply(s, β, out=out)
    np.add(out, scratch, out=out)


def correction(β: float, t: int) -> float:
    """Return 1 − βᵗ, the sum of the weights of the first t values."""
    return 1 - power(β, t)


@dataclass(frozen=True)
class Average:
    """The running average of an array, such as a parameter over the steps of a run.

    It is immutable: `advance` returns the next one. `β` is the decay, 0 or more and below 1; `s` is the sum sₜ in
    float64; `t` counts the values so far. Raises `InvalidConfig` for another β.
    """

    β: float
    s: Array
    t: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.β < 1:
            raise InvalidConfig("β", f"{self.β} is out of range: at least 0, below 1")

    @classmethod
    def of_shape(cls, shape: tuple[int, ...], β: float) -> Self:
        """Return an average without values, for arrays of that shape."""
        return cls(β, np.zeros(shape))

    def advance(self, x: Array) -> "Average":
        """Return the average that includes x. Raises `ValueError` if x has another shape; it is never broadcast."""
        if x.shape != self.s.shape:
            raise ValueError(f"the average is of shape {self.s.shape}, the array is of shape {x.shape}")
        wide, out = x.astype(self.s.dtype), np.empty_like(self.s)
        accumulate(self.s, wide, self.β, out=out, scratch=wide)
        return Average(self.β, out, self.t + 1)

    def value(self) -> Array:
        """Return ŝₜ in float64. Raises `ValueError` before the first value."""
        if not self.t:
            raise ValueError("the average of no values; advance it first")
        return self.s / correction(self.β, self.t)
