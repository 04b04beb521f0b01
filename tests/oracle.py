"""A second implementation of sums, clipping and schedules, on plain Python floats.

Like `oracle_rules.py`, it imports nothing of the engine and nothing of NumPy.
"""

import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf, sqrt
from typing import Any

Settings = Mapping[str, Any]


def norm(values: Iterable[float]) -> float:
    return sqrt(math.fsum(x * x for x in values))


def square_sum(values: Sequence[float], *, single: bool) -> float:
    """Return the sum of a tensor's squares, to the bit; `single` where it is computed in float32."""
    if len(values) < 32_768:
        return _settled(small_sum, values, single)
    total = _settled(block_sum, values[:262_144], single)
    for start in range(262_144, len(values), 262_144):
        total += _settled(block_sum, values[start : start + 262_144], single)
    return total


def _settled(
    add: Callable[[Sequence[float], Callable[[float], float]], float], values: Sequence[float], single: bool
) -> float:
    if single and 2.0**-100 <= (total := add(values, to_float32)) < inf:
        return total
    return add(values, float)


def small_sum(values: Sequence[float], rounded: Callable[[float], float]) -> float:
    total = 0.0
    for start in range(0, len(values), 128):
        first, *rest = [rounded(x * x) for x in values[start : start + 128]]
        row, whole = 0.0, len(rest) // 8 * 8
        if whole:
            a, b, c, d, e, f, g, h = (added(rest[lane:whole:8], rounded) for lane in range(8))
            left, right = rounded(rounded(a + b) + rounded(c + d)), rounded(rounded(e + f) + rounded(g + h))
            row = rounded(left + right)
        for x in rest[whole:]:
            row = rounded(row + x)
        total += rounded(first + row)
    return total


def block_sum(values: Sequence[float], rounded: Callable[[float], float]) -> float:
    lanes = [0.0] * 512
    for start in range(0, len(values), 16_384):
        tile = [rounded(x * x) for x in values[start : start + 16_384]]
        for lane in range(min(512, len(tile))):
            lanes[lane] += added(tile[lane::512], rounded)
    return added([added(lanes[lane::16]) for lane in range(16)])


def added(values: Sequence[float], rounded: Callable[[float], float] = float) -> float:
    """Add one after the other: `sum` of Python 3.12 and later would be another number."""
    total = values[0]
    for x in values[1:]:
        total = rounded(total + x)
    return total


def to_float32(x: float) -> float:
    """Return the nearest float32, which is infinite beyond their range."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", x))[0])
    except OverflowError:
        return math.copysign(inf, x)


def clip_scale(values: Iterable[float], largest: float) -> float:
    return min(1.0, largest / (norm(values) + 1e-6))


def factor(schedule: Settings | None, s: int) -> float:
    """Return the factor of lr at step s = 1, 2, …"""
    if schedule is None:
        return 1.0
    settings = {name: value for name, value in schedule.items() if name not in {"kind", "start_step"}}
    return FACTORS[schedule["kind"]](max(s - schedule.get("start_step", 0), 1), **settings)


def cosine(s: int, total_steps: int, min_factor: float = 0.0) -> float:
    done = min(s - 1, total_steps) / total_steps
    return min_factor + (1 - min_factor) * (1 + math.cos(math.pi * done)) / 2


def warmup_cosine(s: int, warmup_steps: int, total_steps: int, min_factor: float = 0.0) -> float:
    if s <= warmup_steps:
        return s / warmup_steps
    return cosine(s - warmup_steps, total_steps - warmup_steps, min_factor)


def polynomial(s: int, total_steps: int, power: float = 1.0, min_factor: float = 0.0) -> float:
    left = 1 - min(s - 1, total_steps) / total_steps
    return min_factor + (1 - min_factor) * left**power


def inverse_sqrt(s: int, warmup_steps: int) -> float:
    return s / warmup_steps if s <= warmup_steps else sqrt(warmup_steps / s)


def warmup_stable_decay(
    s: int, warmup_steps: int, stable_steps: int, decay_steps: int, min_factor: float = 0.0
) -> float:
    if s <= warmup_steps:
        return s / warmup_steps
    into_decay = min(max(s - warmup_steps - stable_steps, 0), decay_steps)
    return 1 + (min_factor - 1) * into_decay / decay_steps


def piecewise(s: int, boundaries: Sequence[int], factors: Sequence[float]) -> float:
    return factors[sum(1 for boundary in boundaries if s - 1 >= boundary)]


def cosine_restarts(s: int, period: int, multiplier: int = 1, min_factor: float = 0.0) -> float:
    into, length = 0, period
    for _ in range(s - 1):
        into += 1
        if into == length:
            into, length = 0, length * multiplier
    return cosine(into + 1, length, min_factor)


def one_cycle(
    s: int, total_steps: int, warmup_fraction: float = 0.3, start_factor: float = 0.04, end_factor: float = 4e-6
) -> float:
    peak, done = warmup_fraction * total_steps - 1, min(s, total_steps) - 1
    if done < peak:
        return between(start_factor, 1.0, done / peak)
    return between(1.0, end_factor, (done - peak) / (total_steps - 1 - peak) if done > peak else 0.0)


def between(start: float, end: float, part: float) -> float:
    """Return a number on the half cosine from start to end."""
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


FACTORS: Mapping[str, Callable[..., float]] = {
    "constant": lambda s: 1.0,
    "linear_warmup": lambda s, warmup_steps: min(1.0, s / warmup_steps),
    "cosine": cosine,
    "warmup_cosine": warmup_cosine,
    "step": lambda s, step_size, gamma=0.1: gamma ** ((s - 1) // step_size),
    "exponential": lambda s, gamma: gamma ** (s - 1),
    "polynomial": polynomial,
    "inverse_sqrt": inverse_sqrt,
    "warmup_stable_decay": warmup_stable_decay,
    "piecewise": piecewise,
    "cosine_restarts": cosine_restarts,
    "one_cycle": one_cycle,
}
"""The table of the contract, row by row."""
