"""A second implementation of what all tensors of a rule share, on plain floats. Like `oracle_tensors.py`, it imports
nothing of the engine and nothing of NumPy."""

import math
from collections.abc import Mapping
from typing import NamedTuple

from tests.oracle_rules import Settings
from tests.oracle_tensors import Slots, Tensor, prodigy_beta3, prodigy_bias, prodigy_sum

SLOTS = ("d", "d_last", "d_max", "d_numerator")
"""The slots of such numbers."""


class Seen(NamedTuple):
    """A tensor of a step: its settings, count and rate, its parameter, the gradient that the rule sees, its slots."""

    h: Settings
    t: int
    lr: float
    θ: Tensor
    g: Tensor
    s: Slots


def shared(optimizer: str, tensors: Mapping[str, Seen]) -> Slots:
    """Return the numbers after the step, which every tensor keeps."""
    return prodigy(tensors) if optimizer == "prodigy" else {}


def prodigy(tensors: Mapping[str, Seen]) -> Slots:
    h = next(iter(tensors.values())).h
    d, largest, n = h["d0"], h["d0"], 0.0
    for seen in tensors.values():
        if "d" in seen.s:
            d, largest, n = (seen.s[slot][0] for slot in ("d", "d_max", "d_numerator"))
    n *= prodigy_beta3(h)
    distance = 0.0
    for _, t, lr, θ, g, s in tensors.values():
        rate = d * lr * prodigy_bias(h, t)
        start = s["p0"] if t > 1 else θ.values
        n += d / h["d0"] * rate * math.fsum(y * (x0 - x) for y, x0, x in zip(g.values, start, θ.values, strict=True))
        distance += math.fsum(abs(x) for x in prodigy_sum(h, t, lr, d, g, s))
    estimate = h["d_coef"] * n / distance
    grown = max(d, estimate) if d == h["d0"] else d
    largest = max(largest, estimate)
    return {
        "d": [min(largest, grown * (h["growth_rate"] or math.inf))],
        "d_last": [d],
        "d_max": [largest],
        "d_numerator": [n],
    }
