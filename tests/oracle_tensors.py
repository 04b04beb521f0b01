"""A second implementation for whole tensors: rules of which an element knows the others, on lists of plain floats.

Like `oracle_rules.py`, it imports nothing of the engine and nothing of NumPy.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from math import sqrt
from typing import NamedTuple

from tests import oracle, oracle_rules
from tests.oracle_rules import Settings

Matrix = list[list[float]]
Slots = dict[str, list[float]]


class Tensor(NamedTuple):
    """A tensor's elements in C order, with its shape."""

    shape: tuple[int, ...]
    values: list[float]

    @property
    def rows(self) -> Matrix:
        """Return the elements in lists of the last dimension."""
        width = self.shape[-1]
        return [self.values[i : i + width] for i in range(0, len(self.values), width)] if width else []


class TensorRule(NamedTuple):
    """The same of a whole tensor: `advance(h, t, lr, θ, g, s)`, and `apply(h, t, lr, θ, g, s, ε)`; ε is its dtype's."""

    advance: Callable[[Settings, int, float, Tensor, Tensor, Slots], Slots]
    apply: Callable[[Settings, int, float, Tensor, Tensor, Slots, float], list[float]]


def step(
    optimizer: str,
    h: Settings,
    t: int,
    lr: float,
    θ: Tensor,
    g: Tensor,
    s: Slots,
    **clipping: float,
) -> tuple[list[float], Slots]:
    """Return a tensor's t-th update: its new values and its new moments."""
    seen = [oracle_rules.gradient(optimizer, h, x, y, **clipping) for x, y in zip(θ.values, g.values, strict=True)]
    g = Tensor(g.shape, seen)
    new = advance(optimizer, h, t, lr, θ, g, s)
    values = apply(optimizer, h, t, lr, θ, g, new)
    return values, {**new, **follow(optimizer, h, t, values, s)}


def advance(optimizer: str, h: Settings, t: int, lr: float, θ: Tensor, g: Tensor, s: Slots) -> Slots:
    """Return the moments of a tensor with the gradient that the rule sees taken in."""
    if optimizer in TENSOR_RULES:
        return TENSOR_RULES[optimizer].advance(h, t, lr, θ, g, s)
    made = [oracle_rules.RULES[optimizer].advance(h, t, x, moments_of(s, i)) for i, x in enumerate(g.values)]
    slots = {slot: [moments[slot] for moments in made] for slot in made[0]}
    return {slot: values[:1] if slot in oracle_rules.SCALARS else values for slot, values in slots.items()}


def apply(
    optimizer: str, h: Settings, t: int, lr: float, θ: Tensor, g: Tensor, s: Slots, ε: float = 2.0**-52
) -> list[float]:
    """Return a tensor's new values by moments that were advanced."""
    if optimizer in TENSOR_RULES:
        return TENSOR_RULES[optimizer].apply(h, t, lr, θ, g, s, ε)
    pairs = enumerate(zip(θ.values, g.values, strict=True))
    values = [oracle_rules.RULES[optimizer].apply(h, t, lr, x, y, moments_of(s, i)) for i, (x, y) in pairs]
    return cautious(optimizer, h, lr, θ, g, values) if h.get("cautious") else values


def cautious(optimizer: str, h: Settings, lr: float, θ: Tensor, g: Tensor, values: list[float]) -> list[float]:
    """Return the new values without what goes up the gradient; the others go further by as much as that is rare."""
    decay = lr * h["weight_decay"] if oracle_rules.decoupled(optimizer, h) else 0.0
    kept = [x - decay * x for x in θ.values]
    u = [x - y for x, y in zip(kept, values, strict=True)]
    goes = [x * y > 0 for x, y in zip(u, g.values, strict=True)]
    scale = 1 / max(sum(goes) / len(goes), 1e-3)
    return [x - y * scale if go else x for x, y, go in zip(kept, u, goes, strict=True)]


def follow(optimizer: str, h: Settings, t: int, values: list[float], s: Slots) -> Slots:
    """Return the moments of a tensor that follow its new values."""
    if optimizer in TENSOR_RULES:
        return {}
    made = [oracle_rules.RULES[optimizer].follow(h, t, x, moments_of(s, i)) for i, x in enumerate(values)]
    return {slot: [moments[slot] for moments in made] for slot in made[0]}


def moments_of(s: Slots, i: int) -> oracle_rules.Moments:
    """Return the moments of one element."""
    return {slot: values[0 if slot in oracle_rules.SCALARS else i] for slot, values in s.items()}


def adafactor_advance(h: Settings, t: int, lr: float, θ: Tensor, g: Tensor, s: Slots) -> Slots:
    w = t ** h["beta2_decay"]
    found = {"v": [x * x for x in g.values]} if len(g.shape) < 2 else square_means(g)
    zeros = {slot: [0.0] * len(values) for slot, values in found.items()}
    old = {**zeros, **s}
    return {slot: [(1 - w) * x + w * y for x, y in zip(old[slot], found[slot], strict=True)] for slot in found}


def square_means(g: Tensor) -> Slots:
    """Return the means of the squares of each row and of each column, added one after the other."""
    n, m = g.shape[-2:]
    squares = [[x * x for x in row] for row in g.rows]
    matrices = [squares[i : i + n] for i in range(0, len(squares), n)]
    return {
        "v_row": [oracle.added(row) / m for row in squares],
        "v_col": [oracle.added([row[j] for row in matrix]) / n for matrix in matrices for j in range(m)],
    }


def adafactor_apply(h: Settings, t: int, lr: float, θ: Tensor, g: Tensor, s: Slots, ε: float) -> list[float]:
    ε1, ε2 = h["eps"]
    ε1 = ε if ε1 is None else ε1
    if len(g.shape) < 2:
        v = s["v"]
    else:
        n, m = g.shape[-2:]
        v = []
        for k in range(len(s["v_row"]) // n):
            R, C = s["v_row"][k * n : (k + 1) * n], s["v_col"][k * m : (k + 1) * m]
            v += [r * c / max(sum(R) / n, ε1) for r in R for c in C]
    u = [x / sqrt(max(y, ε1 * ε1)) for x, y in zip(g.values, v, strict=True)]
    α = max(ε2, rms(θ.values)) * min(lr, 1 / sqrt(t))
    α /= max(1.0, rms(u) / h["d"])
    return [x - lr * h["weight_decay"] * x - α * y for x, y in zip(θ.values, u, strict=True)]


def rms(values: Sequence[float]) -> float:
    return oracle.norm(values) / sqrt(len(values))


def muon_advance(h: Settings, t: int, lr: float, θ: Tensor, g: Tensor, s: Slots) -> Slots:
    μ, old = h["momentum"], s.get("m", [0.0] * len(g.values))
    return {"m": [μ * b + (1 - μ) * x for b, x in zip(old, g.values, strict=True)]}


def muon_apply(h: Settings, t: int, lr: float, θ: Tensor, g: Tensor, s: Slots, ε: float) -> list[float]:
    μ, d = h["momentum"], s["m"]
    if h["nesterov"]:
        d = [(1 - μ) * x + μ * b for b, x in zip(d, g.values, strict=True)]
    n, m = θ.shape
    scale = 0.2 * sqrt(max(n, m)) if h["adjust_lr_fn"] == "match_rms_adamw" else sqrt(max(1.0, n / m))
    size = max(oracle.norm(d), h["eps"])
    X = orthogonal(h, Tensor(θ.shape, [x / size for x in d]).rows)
    moved = [x for row in X for x in row]
    return [x - lr * h["weight_decay"] * x - lr * scale * y for x, y in zip(θ.values, moved, strict=True)]


def orthogonal(h: Settings, X: Matrix) -> Matrix:
    """Newton and Schulz's iteration, as Jordan writes it: on the side on which X·Xᵀ is the smaller matrix."""
    if len(X) > len(X[0]):
        return transposed(orthogonal(h, transposed(X)))
    a, b, c = h["ns_coefficients"]
    for _ in range(h["ns_steps"]):
        A = product(X, transposed(X))
        AA = product(A, A)
        B = [[b * x + c * y for x, y in zip(*rows, strict=True)] for rows in zip(A, AA, strict=True)]
        X = [[a * x + y for x, y in zip(*rows, strict=True)] for rows in zip(X, product(B, X), strict=True)]
    return X


def product(X: Matrix, Y: Matrix) -> Matrix:
    return [
        [math.fsum(x * y for x, y in zip(row, column, strict=True)) for column in zip(*Y, strict=True)] for row in X
    ]


def transposed(X: Matrix) -> Matrix:
    return [list(column) for column in zip(*X, strict=True)]


def lamb_advance(h: Settings, t: int, lr: float, θ: Tensor, g: Tensor, s: Slots) -> Slots:
    return of_each(oracle_rules.two_moments, h, t, g, s)


def of_each(rule: Callable[..., oracle_rules.Moments], h: Settings, t: int, g: Tensor, s: Slots) -> Slots:
    """Return the moments of a tensor of which no element knows another."""
    made = [rule(h, t, x, moments_of(s, i)) for i, x in enumerate(g.values)]
    return {slot: [moments[slot] for moments in made] for slot in made[0]}


def lamb_apply(h: Settings, t: int, lr: float, θ: Tensor, g: Tensor, s: Slots, ε: float) -> list[float]:
    β1, β2 = h["betas"]
    u = []
    for x, m, v in zip(θ.values, s["m"], s["v"], strict=True):
        root = sqrt(v / (1 - β2**t) + h["eps_root"])
        u.append(m / (1 - β1**t) / (root + h["eps"]) + h["weight_decay"] * x)
    r = trust_ratio(θ.values, u)
    return [x - lr * r * y for x, y in zip(θ.values, u, strict=True)]


def trust_ratio(θ: Sequence[float], u: Sequence[float]) -> float:
    both = oracle.norm(θ), oracle.norm(u)
    return both[0] / both[1] if min(both) > 0 else 1.0


def lars_ratio(h: Settings, θ: Tensor, g: Tensor) -> float:
    both = oracle.norm(θ.values), oracle.norm(g.values)
    return float(h["trust_coefficient"] * both[0] / (both[1] + h["eps"])) if min(both) > 0 else 1.0


def lars_advance(h: Settings, t: int, lr: float, θ: Tensor, g: Tensor, s: Slots) -> Slots:
    r, old = lars_ratio(h, θ, g), s.get("m", [0.0] * len(g.values))
    return {"m": [h["momentum"] * m + lr * r * x for m, x in zip(old, g.values, strict=True)]}


def lars_apply(h: Settings, t: int, lr: float, θ: Tensor, g: Tensor, s: Slots, ε: float) -> list[float]:
    if not h["nesterov"]:
        return [x - m for x, m in zip(θ.values, s["m"], strict=True)]
    r = lars_ratio(h, θ, g)
    return [x - lr * r * y - h["momentum"] * m for x, y, m in zip(θ.values, g.values, s["m"], strict=True)]


def stable_adamw_advance(h: Settings, t: int, lr: float, θ: Tensor, g: Tensor, s: Slots) -> Slots:
    corrected = tuple(β * (1 - β ** (t - 1)) / (1 - β**t) for β in h["betas"])
    return of_each(oracle_rules.two_moments, {"betas": corrected}, t, g, s)


def stable_adamw_apply(h: Settings, t: int, lr: float, θ: Tensor, g: Tensor, s: Slots, ε: float) -> list[float]:
    lr = lr / max(1.0, rms([x / max(sqrt(v), h["eps"]) for x, v in zip(g.values, s["v"], strict=True)]))
    decay = lr * h["weight_decay"]
    if h["decouple_lr"]:
        decay /= h["max_lr"] or h["lr"]
    rows = zip(θ.values, s["m"], s["v"], strict=True)
    return [x - decay * x - lr * m / (sqrt(v) + h["eps"]) for x, m, v in rows]


def schedule_free_direction(h: Settings, t: int, θ: Tensor, g: Tensor, s: Slots) -> list[float]:
    """Return u: of SGD the gradient, which has the decay in it."""
    if "momentum" in h:
        return g.values
    root = [sqrt(v / (1 - h["betas"][1] ** t)) + h["eps"] for v in s["v"]]
    return [y / r + h["weight_decay"] * x for x, y, r in zip(θ.values, g.values, root, strict=True)]


def schedule_free_advance(h: Settings, t: int, lr: float, θ: Tensor, g: Tensor, s: Slots) -> Slots:
    new = {} if "momentum" in h else {"v": of_each(oracle_rules.two_moments, h, t, g, s)["v"]}
    rate = lr * min(1.0, t / h["warmup_steps"]) if h["warmup_steps"] else lr
    largest = max([rate, *s.get("lr_max", [])]) if t > 1 else rate
    weight = t ** h["r"] * largest ** h["weight_lr_power"]
    u = schedule_free_direction(h, t, θ, g, new)
    z = [x - rate * y for x, y in zip(s["z"] if t > 1 else θ.values, u, strict=True)]
    total = (s["weight_sum"][0] if t > 1 else 0.0) + weight
    return {**new, "z": z, "weight_sum": [total], "lr_max": [largest]}


def schedule_free_apply(h: Settings, t: int, lr: float, θ: Tensor, g: Tensor, s: Slots, ε: float) -> list[float]:
    """Find the old x from y and the old z, take the mean, and interpolate anew."""
    β = h["momentum"] if "momentum" in h else h["betas"][0]
    rate = lr * min(1.0, t / h["warmup_steps"]) if h["warmup_steps"] else lr
    weight = t ** h["r"] * s["lr_max"][0] ** h["weight_lr_power"]
    c = weight / s["weight_sum"][0] if s["weight_sum"][0] else 0.0
    values = []
    for y, z, u in zip(θ.values, s["z"], schedule_free_direction(h, t, θ, g, s), strict=True):
        x = (y - (1 - β) * (z + rate * u)) / β
        values.append((1 - β) * z + β * ((1 - c) * x + c * z))
    return values


def prodigy_beta3(h: Settings) -> float:
    return sqrt(h["betas"][1]) if h["beta3"] is None else float(h["beta3"])


def prodigy_bias(h: Settings, t: int) -> float:
    β1, β2 = h["betas"]
    return sqrt(1 - β2**t) / (1 - β1**t) if h["use_bias_correction"] else 1.0


def prodigy_sum(h: Settings, t: int, lr: float, d: float, g: Tensor, s: Slots) -> list[float]:
    weight = d / h["d0"] * d * (1.0 if h["safeguard_warmup"] else lr * prodigy_bias(h, t))
    old = s["s"] if t > 1 else [0.0] * len(g.values)
    return [prodigy_beta3(h) * x + weight * y for x, y in zip(old, g.values, strict=True)]


def prodigy_advance(h: Settings, t: int, lr: float, θ: Tensor, g: Tensor, s: Slots) -> Slots:
    """Return the slots after the step; `s` has the numbers of after it already."""
    (β1, β2), d = h["betas"], s["d_last"][0]
    zeros = [0.0] * len(g.values)
    m, v = (s[slot] if t > 1 else zeros for slot in "mv")
    return {
        "m": [β1 * x + (1 - β1) * d * y for x, y in zip(m, g.values, strict=True)],
        "v": [β2 * x + (1 - β2) * (d * y) ** 2 for x, y in zip(v, g.values, strict=True)],
        "s": prodigy_sum(h, t, lr, d, g, s),
        "p0": s["p0"] if t > 1 else θ.values,
        **{slot: s[slot] for slot in ("d", "d_last", "d_max", "d_numerator")},
    }


def prodigy_apply(h: Settings, t: int, lr: float, θ: Tensor, g: Tensor, s: Slots, ε: float) -> list[float]:
    rate = s["d_last"][0] * lr * prodigy_bias(h, t)
    decay = rate * h["weight_decay"] if h["decouple"] else 0.0
    rows = zip(θ.values, s["m"], s["v"], strict=True)
    return [x - decay * x - rate * m / (sqrt(v) + s["d"][0] * h["eps"]) for x, m, v in rows]


TENSOR_RULES: Mapping[str, TensorRule] = {
    "adafactor": TensorRule(adafactor_advance, adafactor_apply),
    "muon": TensorRule(muon_advance, muon_apply),
    "lamb": TensorRule(lamb_advance, lamb_apply),
    "lars": TensorRule(lars_advance, lars_apply),
    "stable_adamw": TensorRule(stable_adamw_advance, stable_adamw_apply),
    "schedule_free_adamw": TensorRule(schedule_free_advance, schedule_free_apply),
    "schedule_free_sgd": TensorRule(schedule_free_advance, schedule_free_apply),
    "prodigy": TensorRule(prodigy_advance, prodigy_apply),
}
"""The rules that want a whole tensor, or its parameters in `advance`."""
