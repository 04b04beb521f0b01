"""A second implementation of the aggregates of many workers, on plain Python floats.

A gradient is a list of floats, with zeros where its worker has sent nothing. Gradients come in the order of the
workers' names by UTF-8 bytes.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

from tests.oracle import added, to_float32

Gradients = Sequence[Sequence[float]]


def aggregate(
    kind: str,
    gradients: Gradients,
    weights: Sequence[float],
    norms: Sequence[float] = (),
    *,
    max_norm: float = 1.0,
    trim: float = 0.0,
    single: bool,
) -> list[float]:
    """Return the aggregate; `single` where it is rounded to float32."""
    rounded = to_float32 if single else float
    if kind in {"median", "trimmed_mean"}:
        count = len(gradients)
        drop = (count - 1) // 2 if kind == "median" else math.floor(Fraction(str(trim)) * count)
        return [rounded(middle(list(values), drop)) for values in zip(*gradients, strict=True)]
    factors = [1.0] * len(weights) if kind == "mean_of_sums" else list(weights)
    if kind == "clipped_mean":
        factors = [w * (min(1.0, max_norm / norm) if norm else 1.0) for w, norm in zip(weights, norms, strict=True)]
    return [
        rounded(added([f * g for f, g in zip(factors, values, strict=True)]) / added(weights))
        for values in zip(*gradients, strict=True)
    ]


def middle(values: list[float], drop: int) -> float:
    if len(values) == 1:
        return values[0]
    kept = sorted(x + 0.0 for x in values)[drop : len(values) - drop]
    return added(kept) / len(kept)
