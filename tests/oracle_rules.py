"""A second implementation of the rules: plain Python floats, one element at a time, as the papers and PyTorch have it.

Slow and obvious on purpose. It imports nothing of the engine and nothing of NumPy, so a mistake would have to be made
twice, in two different ways, to go unseen. `oracle_tensors.py` has the rules of which an element knows the others.
"""

from collections.abc import Callable, Mapping
from math import inf, sqrt
from typing import Any, NamedTuple

Moments = dict[str, float]
Settings = Mapping[str, Any]


class Rule(NamedTuple):
    """`advance(h, t, g, s)` takes a gradient into the moments; `apply(h, t, lr, θ, g, s)` is the new parameter;
    `follow(h, t, θ, s)` has the moments that follow the new parameter θ, from the old ones."""

    advance: Callable[[Settings, int, float, Moments], Moments]
    apply: Callable[[Settings, int, float, float, float, Moments], float]
    follow: Callable[[Settings, int, float, Moments], Moments] = lambda h, t, θ, s: {}


def gradient(
    optimizer: str, h: Settings, θ: float, g: float, *, clip_scale: float = 1.0, clip_value: float = inf
) -> float:
    """Return the gradient that the rule sees: clipped, turned to climb, and with the decay where that is L2."""
    g = max(-clip_value, min(clip_value, clip_scale * g))
    if h.get("maximize"):
        g = -g
    return g if decoupled(optimizer, h) else g + float(h["weight_decay"]) * θ


DECOUPLED = (
    "adamw", "adafactor", "muon", "ademamix", "adan", "lion", "lamb", "stable_adamw", "schedule_free_adamw"
)  # fmt: skip
"""The rules whose decay is never L2."""


def decoupled(optimizer: str, h: Settings) -> bool:
    return optimizer in DECOUPLED or bool(h.get("decoupled_weight_decay") or h.get("decouple"))


def two_moments(h: Settings, t: int, g: float, s: Moments) -> Moments:
    β1, β2 = h["betas"]
    return {"m": β1 * s.get("m", 0.0) + (1 - β1) * g, "v": β2 * s.get("v", 0.0) + (1 - β2) * g * g}


def adam_advance(h: Settings, t: int, g: float, s: Moments) -> Moments:
    new = two_moments(h, t, g, s)
    return {**new, "v_max": max(s.get("v_max", 0.0), new["v"])} if h["amsgrad"] else new


def adam_apply(h: Settings, t: int, lr: float, θ: float, g: float, s: Moments) -> float:
    β1, β2 = h["betas"]
    if h.get("decoupled_weight_decay"):
        θ = θ - lr * h["weight_decay"] * θ
    m, v = s["m"], s.get("v_max", s["v"])
    if h["bias_correction"]:
        m, v = m / (1 - β1**t), v / (1 - β2**t)
    return θ - lr * m / (sqrt(v) + h["eps"])


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
    return {
        **two_moments(h, t, g, s),
        "mu_product": (s["mu_product"] if t > 1 else 1.0) * nadam_momentum(h, t),
    }


def nadam_apply(h: Settings, t: int, lr: float, θ: float, g: float, s: Moments) -> float:
    if h["decoupled_weight_decay"]:
        θ = θ - lr * h["weight_decay"] * θ
    μ, μ_next, product = nadam_momentum(h, t), nadam_momentum(h, t + 1), s["mu_product"]
    looked_ahead = (1 - μ) / (1 - product) * g + μ_next / (1 - product * μ_next) * s["m"]
    return θ - lr * looked_ahead / (sqrt(s["v"] / (1 - h["betas"][1] ** t)) + h["eps"])


def radam_apply(h: Settings, t: int, lr: float, θ: float, g: float, s: Moments) -> float:
    β1, β2 = h["betas"]
    if h["decoupled_weight_decay"]:
        θ = θ - lr * h["weight_decay"] * θ
    m_hat = s["m"] / (1 - β1**t)
    most = 2 / (1 - β2) - 1
    ρ = most - 2 * t * β2**t / (1 - β2**t)
    if ρ <= 5:
        return θ - lr * m_hat
    r = sqrt((ρ - 4) * (ρ - 2) * most / ((most - 4) * (most - 2) * ρ))
    return θ - lr * m_hat * r * sqrt(1 - β2**t) / (sqrt(s["v"]) + h["eps"])


def adamax_advance(h: Settings, t: int, g: float, s: Moments) -> Moments:
    β1, β2 = h["betas"]
    return {"m": β1 * s.get("m", 0.0) + (1 - β1) * g, "u": max(β2 * s.get("u", 0.0), abs(g) + h["eps"])}


def adamax_apply(h: Settings, t: int, lr: float, θ: float, g: float, s: Moments) -> float:
    return θ - lr * s["m"] / (1 - h["betas"][0] ** t) / s["u"]


def adagrad_advance(h: Settings, t: int, g: float, s: Moments) -> Moments:
    return {"v": (s["v"] if t > 1 else h["initial_accumulator_value"]) + g * g}


def adagrad_apply(h: Settings, t: int, lr: float, θ: float, g: float, s: Moments) -> float:
    return θ - lr / (1 + (t - 1) * h["lr_decay"]) * g / (sqrt(s["v"]) + h["eps"])


def yogi_advance(h: Settings, t: int, g: float, s: Moments) -> Moments:
    β1, β2 = h["betas"]
    m, v = (s["m"], s["v"]) if t > 1 else (1e-6, 1e-6)
    towards = (v > g * g) - (v < g * g)
    return {"m": β1 * m + (1 - β1) * g, "v": v - (1 - β2) * towards * g * g}


def yogi_apply(h: Settings, t: int, lr: float, θ: float, g: float, s: Moments) -> float:
    β1, β2 = h["betas"]
    if not h["bias_correction"]:
        return θ - lr * s["m"] / (sqrt(s["v"]) + h["eps"])
    return θ - lr * s["m"] / (1 - β1**t) / (sqrt(s["v"] / (1 - β2**t)) + h["eps"])


def adabelief_advance(h: Settings, t: int, g: float, s: Moments) -> Moments:
    β1, β2 = h["betas"]
    m = β1 * s.get("m", 0.0) + (1 - β1) * g
    return {"m": m, "v": β2 * s.get("v", 0.0) + (1 - β2) * (g - m) ** 2 + h["eps_root"]}


def adabelief_apply(h: Settings, t: int, lr: float, θ: float, g: float, s: Moments) -> float:
    β1, β2 = h["betas"]
    m_hat = s["m"] / (1 - β1**t)
    if h["nesterov"]:
        m_hat = β1 * s["m"] / (1 - β1 ** (t + 1)) + (1 - β1) * g / (1 - β1**t)
    return θ - lr * m_hat / (sqrt(s["v"] / (1 - β2**t)) + h["eps"])


def ademamix_advance(h: Settings, t: int, g: float, s: Moments) -> Moments:
    β1, β2, β3 = h["betas"]
    slow = β3 * s.get("m_slow", 0.0) + (1 - β3) * g
    return {**two_moments({"betas": (β1, β2)}, t, g, s), "m_slow": slow}


def ademamix_apply(h: Settings, t: int, lr: float, θ: float, g: float, s: Moments) -> float:
    β1, β2, _ = h["betas"]
    mixed = s["m"] / (1 - β1**t) + h["alpha"] * s["m_slow"]
    root = sqrt(s["v"] / (1 - β2**t) + h["eps_root"])
    return θ - lr * h["weight_decay"] * θ - lr * mixed / (root + h["eps"])


def asgd_rate(h: Settings, t: int, lr: float) -> float:
    return float(lr / (1 + h["lambd"] * lr * (t - 1)) ** h["alpha"])


def asgd_apply(h: Settings, t: int, lr: float, θ: float, g: float, s: Moments) -> float:
    η = asgd_rate(h, t, lr)
    return θ - η * h["lambd"] * θ - η * g


def asgd_follow(h: Settings, t: int, θ: float, s: Moments) -> Moments:
    μ = 1 / max(1, t - 1 - h["t0"])
    return {"ax": θ if μ == 1 else s["ax"] + μ * (θ - s["ax"])}


def rprop_advance(h: Settings, t: int, g: float, s: Moments) -> Moments:
    (shrinking, growing), (least, most) = h["etas"], h["step_sizes"]
    sign = g * s.get("g_last", 0.0)
    size = s["step_size"] if t > 1 else h["lr"]
    size *= growing if sign > 0 else shrinking if sign < 0 else 1
    return {"g_last": 0.0 if sign < 0 else g, "step_size": min(max(size, least), most)}


def rprop_apply(h: Settings, t: int, lr: float, θ: float, g: float, s: Moments) -> float:
    g = s["g_last"]
    return θ - s["step_size"] * ((g > 0) - (g < 0))


def adan_advance(h: Settings, t: int, g: float, s: Moments) -> Moments:
    β1, β2, β3 = h["betas"]
    d = g - s["g_last"] if t > 1 else 0.0
    return {
        "m": β1 * s.get("m", 0.0) + (1 - β1) * g,
        "v": β2 * s.get("v", 0.0) + (1 - β2) * d,
        "n": β3 * s.get("n", 0.0) + (1 - β3) * (g + (1 - β2) * d) ** 2,
        "g_last": g,
    }


def adan_apply(h: Settings, t: int, lr: float, θ: float, g: float, s: Moments) -> float:
    β1, β2, β3 = h["betas"]
    looked_ahead = s["m"] / (1 - β1**t) + (1 - β2) * s["v"] / (1 - β2**t)
    root = sqrt(s["n"] / (1 - β3**t) + h["eps_root"])
    return θ - lr * h["weight_decay"] * θ - lr * looked_ahead / (root + h["eps"])


def lion_advance(h: Settings, t: int, g: float, s: Moments) -> Moments:
    (β1, β2), m = h["betas"], s.get("m", 0.0)
    d = β1 * m + (1 - β1) * g
    return {"m": β2 * m + (1 - β2) * g, "update": (d > 0) - (d < 0)}


def lion_apply(h: Settings, t: int, lr: float, θ: float, g: float, s: Moments) -> float:
    decay = h["weight_decay"] / (h["lr"] if h["decoupled_weight_decay"] else 1)
    return θ - lr * decay * θ - lr * s["update"]


def adadelta_advance(h: Settings, t: int, g: float, s: Moments) -> Moments:
    ρ, ε, u = h["rho"], h["eps"], s.get("delta", 0.0)
    v = ρ * s.get("v", 0.0) + (1 - ρ) * g * g
    d = sqrt(u + ε) / sqrt(v + ε) * g
    return {"v": v, "delta": ρ * u + (1 - ρ) * d * d, "update": d}


def adadelta_apply(h: Settings, t: int, lr: float, θ: float, g: float, s: Moments) -> float:
    return θ - lr * s["update"]


RULES: Mapping[str, Rule] = {
    "adamw": Rule(adam_advance, adamw_apply),
    "adam": Rule(adam_advance, adam_apply),
    "sgd": Rule(sgd_advance, sgd_apply),
    "rmsprop": Rule(rmsprop_advance, rmsprop_apply),
    "nadam": Rule(nadam_advance, nadam_apply),
    "radam": Rule(two_moments, radam_apply),
    "adamax": Rule(adamax_advance, adamax_apply),
    "adagrad": Rule(adagrad_advance, adagrad_apply),
    "yogi": Rule(yogi_advance, yogi_apply),
    "adabelief": Rule(adabelief_advance, adabelief_apply),
    "ademamix": Rule(ademamix_advance, ademamix_apply),
    "asgd": Rule(lambda h, t, g, s: {}, asgd_apply, asgd_follow),
    "rprop": Rule(rprop_advance, rprop_apply),
    "adan": Rule(adan_advance, adan_apply),
    "lion": Rule(lion_advance, lion_apply),
    "adadelta": Rule(adadelta_advance, adadelta_apply),
}
"""The rules of which no element knows another."""

SCALARS = ("mu_product", "weight_sum", "lr_max")
"""Moments that are one number for the whole tensor."""
