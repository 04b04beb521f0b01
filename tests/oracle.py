"""A second implementation of the rules: plain Python floats, one element at a time, as the papers and PyTorch have it.

Slow and obvious on purpose. It imports nothing of the engine and nothing of NumPy, so a mistake would have to be made
twice, in two different ways, to go unseen.
"""

import math
import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import inf, sqrt
from typing import Any, NamedTuple

Moments = dict[str, float]
Settings = Mapping[str, Any]

DEFAULTS: Mapping[str, Settings] = {
    "adamw": {
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 1e-2,
        "amsgrad": False,
        "maximize": False,
    },
    "adam": {
        "lr": 1e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "amsgrad": False,
        "maximize": False,
        "decoupled_weight_decay": False,
    },
    "sgd": {
        "lr": 1e-3,
        "momentum": 0.0,
        "dampening": 0.0,
        "weight_decay": 0.0,
        "nesterov": False,
        "maximize": False,
    },
    "rmsprop": {
        "lr": 1e-2,
        "alpha": 0.99,
        "eps": 1e-8,
        "weight_decay": 0.0,
        "momentum": 0.0,
        "centered": False,
        "maximize": False,
    },
    "nadam": {
        "lr": 2e-3,
        "betas": (0.9, 0.999),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "momentum_decay": 4e-3,
        "decoupled_weight_decay": False,
        "maximize": False,
    },
    "adafactor": {
        "lr": 1e-2,
        "beta2_decay": -0.8,
        "eps": (None, 1e-3),
        "d": 1.0,
        "weight_decay": 0.0,
        "maximize": False,
    },
    "muon": {
        "lr": 1e-3,
        "weight_decay": 0.1,
        "momentum": 0.95,
        "nesterov": True,
        "ns_coefficients": (3.4445, -4.775, 2.0315),
        "eps": 1e-7,
        "ns_steps": 5,
        "adjust_lr_fn": None,
    },
}
"""PyTorch's, from its documentation."""


class Rule(NamedTuple):
    """`advance(h, t, g, s)` takes a gradient into the moments; `apply(h, t, lr, θ, g, s)` is the new parameter."""

    advance: Callable[[Settings, int, float, Moments], Moments]
    apply: Callable[[Settings, int, float, float, float, Moments], float]


def step(
    optimizer: str,
    h: Settings,
    t: int,
    lr: float,
    θ: float,
    g: float,
    s: Moments,
    *,
    clip_scale: float = 1.0,
    clip_value: float = inf,
) -> tuple[float, Moments]:
    """Return one element's t-th update: its new value and its new moments."""
    g = gradient(optimizer, h, θ, g, clip_scale=clip_scale, clip_value=clip_value)
    s = RULES[optimizer].advance(h, t, g, s)
    return RULES[optimizer].apply(h, t, lr, θ, g, s), s


def gradient(
    optimizer: str, h: Settings, θ: float, g: float, *, clip_scale: float = 1.0, clip_value: float = inf
) -> float:
    """Return the gradient that the rule sees: clipped, turned to climb, and with the decay where that is L2."""
    g = max(-clip_value, min(clip_value, clip_scale * g))
    if h.get("maximize"):
        g = -g
    return g if decoupled(optimizer, h) else g + float(h["weight_decay"]) * θ


def decoupled(optimizer: str, h: Settings) -> bool:
    return optimizer in ("adamw", "adafactor", "muon") or bool(h.get("decoupled_weight_decay"))


def adam_advance(h: Settings, t: int, g: float, s: Moments) -> Moments:
    β1, β2 = h["betas"]
    m = β1 * s.get("m", 0.0) + (1 - β1) * g
    v = β2 * s.get("v", 0.0) + (1 - β2) * g * g
    if not h["amsgrad"]:
        return {"m": m, "v": v}
    return {"m": m, "v": v, "v_max": max(s.get("v_max", 0.0), v)}


def adam_apply(h: Settings, t: int, lr: float, θ: float, g: float, s: Moments) -> float:
    β1, β2 = h["betas"]
    if h.get("decoupled_weight_decay"):
        θ = θ - lr * h["weight_decay"] * θ
    m_hat = s["m"] / (1 - β1**t)
    v_hat = s.get("v_max", s["v"]) / (1 - β2**t)
    return θ - lr * m_hat / (sqrt(v_hat) + h["eps"])


def adamw_apply(h: Settings, t: int, lr: float, θ: float, g: float, s: Moments) -> float:
    return adam_apply({**h, "decoupled_weight_decay": True}, t, lr, θ, g, s)


def sgd_advance(h: Settings, t: int, g: float, s: Moments) -> Moments:
    if h["momentum"] == 0:
        return {}
    if t == 1:
        return {"m": g}
    return {"m": h["momentum"] * s["m"] + (1 - h["dampening"]) * g}


def sgd_apply(h: Settings, t: int, lr: float, θ: float, g: float, s: Moments) -> float:
    if h["momentum"] == 0:
        return θ - lr * g
    if h["nesterov"]:
        return θ - lr * (g + h["momentum"] * s["m"])
    return θ - lr * s["m"]


def rmsprop_advance(h: Settings, t: int, g: float, s: Moments) -> Moments:
    α = h["alpha"]
    new = {"v": α * s.get("v", 0.0) + (1 - α) * g * g}
    if h["centered"]:
        new["m"] = α * s.get("m", 0.0) + (1 - α) * g
    if h["momentum"] > 0:
        new["b"] = h["momentum"] * s.get("b", 0.0) + rmsprop_direction(h, g, new)
    return new


def rmsprop_apply(h: Settings, t: int, lr: float, θ: float, g: float, s: Moments) -> float:
    return θ - lr * (s["b"] if h["momentum"] > 0 else rmsprop_direction(h, g, s))


def rmsprop_direction(h: Settings, g: float, s: Moments) -> float:
    spread = s["v"] - s["m"] ** 2 if h["centered"] else s["v"]
    return g / (sqrt(max(spread, 0.0)) + h["eps"])


def nadam_momentum(h: Settings, t: int) -> float:
    return float(h["betas"][0] * (1 - 0.96 ** (t * h["momentum_decay"]) / 2))


def nadam_advance(h: Settings, t: int, g: float, s: Moments) -> Moments:
    β1, β2 = h["betas"]
    m = β1 * s.get("m", 0.0) + (1 - β1) * g
    v = β2 * s.get("v", 0.0) + (1 - β2) * g * g
    return {"m": m, "v": v, "mu_product": (s["mu_product"] if t > 1 else 1.0) * nadam_momentum(h, t)}


def nadam_apply(h: Settings, t: int, lr: float, θ: float, g: float, s: Moments) -> float:
    if h["decoupled_weight_decay"]:
        θ = θ - lr * h["weight_decay"] * θ
    μ, μ_next, product = nadam_momentum(h, t), nadam_momentum(h, t + 1), s["mu_product"]
    looked_ahead = (1 - μ) / (1 - product) * g + μ_next / (1 - product * μ_next) * s["m"]
    return θ - lr * looked_ahead / (sqrt(s["v"] / (1 - h["betas"][1] ** t)) + h["eps"])


RULES: Mapping[str, Rule] = {
    "adamw": Rule(adam_advance, adamw_apply),
    "adam": Rule(adam_advance, adam_apply),
    "sgd": Rule(sgd_advance, sgd_apply),
    "rmsprop": Rule(rmsprop_advance, rmsprop_apply),
    "nadam": Rule(nadam_advance, nadam_apply),
}
"""The rules of which no element knows another."""

SCALARS = ("mu_product",)
"""Moments that are one number for the whole tensor."""


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
}
"""The table of the contract, row by row."""
