"""The average of the parameters that a session may keep, and the setting that asks for it.

    s ← s + (1−d)·(θ − s)        d·s + (1−d)·θ; θ is the parameter as it is held after the step, s is 0 at first
    ŝ = s / (1−dᵗ)               t counts the tensor's updates

The first form is exact where θ does not change. In the other one d is rounded to float32 and 1−d apart from it, so the
average of a constant would be off by 0.03 % at d = 0.9999.
"""

from dataclasses import dataclass

import numpy as np

from optim_engine.arrays import BLOCK, Array, cut, unify_nans, widened
from optim_engine.averages import correction
from optim_engine.buffers import scratch
from optim_engine.fields import Checked, number


@dataclass(frozen=True, kw_only=True)
class Averaging(Checked):
    """The setting `average`."""

    decay: float = number(above=0, below=1)

    def follow(self, old: Array, θ: Array, new: Array) -> None:
        """Fill `new` from the average `old`, which may be the same memory, and the new parameter; all are flat."""
        memory = scratch(2, min(len(new), BLOCK), new.dtype)
        for part in cut(len(new), BLOCK):
            s, out = old[part], new[part]
            change, wide = memory[:, : len(out)]
            np.subtract(widened(θ[part], wide), s, out=change)
            np.multiply(change, 1 - self.decay, out=change)
            np.add(s, change, out=out)
            if np.isnan(out).any():
                unify_nans(out)

    def value(self, s: Array, t: int) -> Array:
        """Return ŝ, in the dtype of s."""
        return np.divide(s, correction(self.decay, t))
