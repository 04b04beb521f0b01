"""Schedules: factors of the learning rate at a schedule's own step s = 1, 2, …

s counts from `start_step`: the step after it is s = 1, and so is every earlier one. `min_factor` is the factor at the
end of a decay: 0.1 ends at a tenth of lr. Sources: cosine and cosine_restarts are Loshchilov & Hutter 2017
(arXiv:1608.03983), inverse_sqrt is Vaswani et al. 2017 (arXiv:1706.03762) scaled to 1 at its peak, warmup_stable_decay
is Hu et al. 2024 (arXiv:2404.06395), one_cycle is Smith & Topin 2017 (arXiv:1708.07120) in PyTorch's form with half
cosines. piecewise is PyTorch's MultiStepLR with any factors.
"""

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from optim_engine import scalars
from optim_engine.errors import InvalidConfig
from optim_engine.fields import Checked, check_known, integer, many, named, number, plain, read_fields

MOST_PIECES = 1000
"""The most factors of a piecewise schedule."""


@dataclass(frozen=True, kw_only=True)
class Schedule(Checked, ABC):
    """A schedule: its settings, and the factor at each step. Steps are counted from 1."""

    start_step: int = integer(0, at_least=0)

    @abstractmethod
    def factor(self, s: int) -> float:
        """Return the factor at the schedule's own step `s`; infinite beyond the range of a float."""

    @property
    def end(self) -> float:
        """Return the last s of the schedule: from the next one on the factor stays the same. Infinite without one."""
        return math.inf

    def at(self, step: int) -> float:
        """Return the factor at the session's step."""
        return self.factor(self.step_of(step))

    def step_of(self, step: int) -> int:
        """Return the schedule's own step s at the session's step: 1 until it starts."""
        return max(step - self.start_step, 1)

    def is_over(self, step: int) -> bool:
        """Return whether the session's step is past the end; past a 0 that stays, in a schedule without an end.

        The last step of a schedule is not past its end, even if its factor is 0 there.
        """
        return self.step_of(step) > self.end if math.isfinite(self.end) else self.at(step) == 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return every setting and the kind; `start_step` only if it is not 0, because digests are made of this."""
        kind = next(name for name, cls in SCHEDULES.items() if cls is type(self))
        settings = plain(self)
        start_step = settings.pop("start_step")
        return {"kind": kind, **settings, **({"start_step": start_step} if start_step else {})}


@dataclass(frozen=True, kw_only=True)
class Constant(Schedule):
    """Always 1."""

    def factor(self, s: int) -> float:
        return 1.0


@dataclass(frozen=True, kw_only=True)
class LinearWarmup(Schedule):
    """min(1, s/W)"""

    warmup_steps: int = integer(at_least=1)

    @property
    def end(self) -> float:
        return self.warmup_steps

    def factor(self, s: int) -> float:
        return min(1.0, s / self.warmup_steps)


@dataclass(frozen=True, kw_only=True)
class Cosine(Schedule):
    """f + (1−f)·½(1 + cos(π·min(s−1, T)/T))"""

    total_steps: int = integer(at_least=1)
    min_factor: float = number(0.0, at_least=0, at_most=1)

    @property
    def end(self) -> float:
        return self.total_steps

    def factor(self, s: int) -> float:
        return _cosine(s, self.total_steps, self.min_factor)


@dataclass(frozen=True, kw_only=True)
class WarmupCosine(Schedule):
    """s/W while s ≤ W, then cosine with s−W for s and T−W for T"""

    warmup_steps: int = integer(at_least=0)
    total_steps: int = integer(at_least=1)
    min_factor: float = number(0.0, at_least=0, at_most=1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.total_steps <= self.warmup_steps:
            raise InvalidConfig("total_steps", f"{self.total_steps} must be above warmup_steps ({self.warmup_steps})")

    @property
    def end(self) -> float:
        return self.total_steps

    def factor(self, s: int) -> float:
        W, T = self.warmup_steps, self.total_steps
        return s / W if s <= W else _cosine(s - W, T - W, self.min_factor)


@dataclass(frozen=True, kw_only=True)
class Step(Schedule):
    """γ^⌊(s−1)/k⌋"""

    step_size: int = integer(at_least=1)
    gamma: float = number(0.1, above=0)

    def factor(self, s: int) -> float:
        return scalars.power(self.gamma, (s - 1) // self.step_size)


@dataclass(frozen=True, kw_only=True)
class Exponential(Schedule):
    """γ^(s−1)"""

    gamma: float = number(above=0)

    def factor(self, s: int) -> float:
        return scalars.power(self.gamma, s - 1)


@dataclass(frozen=True, kw_only=True)
class Polynomial(Schedule):
    """f + (1−f)·(1 − min(s−1, T)/T)^p"""

    total_steps: int = integer(at_least=1)
    power: float = number(1.0, above=0)
    min_factor: float = number(0.0, at_least=0, at_most=1)

    @property
    def end(self) -> float:
        return self.total_steps

    def factor(self, s: int) -> float:
        left = 1 - min(s - 1, self.total_steps) / self.total_steps
        return self.min_factor + (1 - self.min_factor) * scalars.power(left, self.power)


@dataclass(frozen=True, kw_only=True)
class InverseSqrt(Schedule):
    """s/W while s ≤ W, then √(W/s)"""

    warmup_steps: int = integer(at_least=1)

    def factor(self, s: int) -> float:
        W = self.warmup_steps
        return s / W if s <= W else math.sqrt(W / s)


@dataclass(frozen=True, kw_only=True)
class WarmupStableDecay(Schedule):
    """s/W while s ≤ W, 1 for S steps, then linearly to f over D"""

    warmup_steps: int = integer(at_least=0)
    stable_steps: int = integer(at_least=0)
    decay_steps: int = integer(at_least=1)
    min_factor: float = number(0.0, at_least=0, at_most=1)

    @property
    def end(self) -> float:
        return self.warmup_steps + self.stable_steps + self.decay_steps

    def factor(self, s: int) -> float:
        if s <= self.warmup_steps:
            return s / self.warmup_steps
        decayed = min(max(s - self.warmup_steps - self.stable_steps, 0), self.decay_steps)
        return 1 - (1 - self.min_factor) * decayed / self.decay_steps


@dataclass(frozen=True, kw_only=True)
class Piecewise(Schedule):
    """fᵢ, where i boundaries are below s"""

    boundaries: tuple[int, ...] = many(integer(at_least=1), at_least=1, at_most=MOST_PIECES - 1)
    factors: tuple[float, ...] = many(number(at_least=0), at_least=2, at_most=MOST_PIECES)

    def __post_init__(self) -> None:
        super().__post_init__()
        for i, (before, boundary) in enumerate(pairwise(self.boundaries), 1):
            if boundary <= before:
                raise InvalidConfig(f"boundaries[{i}]", f"{boundary} must be above the boundary before it ({before})")
        if len(self.factors) != (needed := len(self.boundaries) + 1):
            words = f"must have one number more than boundaries, {needed}, not {len(self.factors)}"
            raise InvalidConfig("factors", words)

    @property
    def end(self) -> float:
        return math.inf if self.factors[-1] else self.boundaries[-1]

    def is_over(self, step: int) -> bool:
        return self.step_of(step) > self.end  # a 0 before the last boundary does not stay

    def factor(self, s: int) -> float:
        return self.factors[bisect_left(self.boundaries, s)]


@dataclass(frozen=True, kw_only=True)
class CosineRestarts(Schedule):
    """cosine with T, T·k, T·k², … for T, one after the other, each from s = 1"""

    period: int = integer(at_least=1)
    multiplier: int = integer(1, at_least=1)
    min_factor: float = number(0.0, at_least=0, at_most=1)

    def factor(self, s: int) -> float:
        T, k = self.period, self.multiplier
        if k == 1:
            return _cosine((s - 1) % T + 1, T, self.min_factor)
        while s > T:
            s, T = s - T, T * k
        return _cosine(s, T, self.min_factor)


@dataclass(frozen=True, kw_only=True)
class OneCycle(Schedule):
    """a + (1−a)·½(1 − cos(π·e/P)) if e < P, else b + (1−b)·½(1 + cos(π·(e−P)/(T−1−P))); e = min(s, T)−1, P = w·T−1"""

    total_steps: int = integer(at_least=1)
    warmup_fraction: float = number(0.3, at_least=0, at_most=1)
    start_factor: float = number(0.04, at_least=0, at_most=1)
    end_factor: float = number(4e-6, at_least=0, at_most=1)

    @property
    def end(self) -> float:
        return self.total_steps

    def factor(self, s: int) -> float:
        e, last = min(s, self.total_steps) - 1, self.total_steps - 1
        peak = self.warmup_fraction * self.total_steps - 1
        if e < peak:
            return _halfway(self.start_factor, 1 - scalars.cosine(math.pi * e / peak))
        fallen = (e - peak) / (last - peak) if e > peak else 0.0
        return _halfway(self.end_factor, 1 + scalars.cosine(math.pi * fallen))


SCHEDULES: Mapping[str, type[Schedule]] = {
    "constant": Constant,
    "linear_warmup": LinearWarmup,
    "cosine": Cosine,
    "warmup_cosine": WarmupCosine,
    "step": Step,
    "exponential": Exponential,
    "polynomial": Polynomial,
    "inverse_sqrt": InverseSqrt,
    "warmup_stable_decay": WarmupStableDecay,
    "piecewise": Piecewise,
    "cosine_restarts": CosineRestarts,
    "one_cycle": OneCycle,
}
"""Each schedule's class, by its kind."""


def read_schedule(schedule: object) -> Schedule:
    """Return a schedule parsed from plain values. Raises `InvalidConfig`."""
    if not isinstance(schedule, Mapping):
        raise InvalidConfig("schedule", f'must be an object, such as {{"kind": "constant"}}, not {named(schedule)}')
    if "kind" not in schedule:
        raise InvalidConfig("schedule.kind", f"is required; expected one of {', '.join(SCHEDULES)}")
    settings = dict(schedule)
    kind = settings.pop("kind")
    check_known("schedule.kind", kind, SCHEDULES)
    return read_fields("schedule", SCHEDULES[str(kind)], settings)


def _cosine(s: int, T: int, f: float) -> float:
    return _halfway(f, 1 + scalars.cosine(math.pi * min(s - 1, T) / T))


def _halfway(f: float, twice: float) -> float:
    """Return f at 0, 1 at 2, and on the line between."""
    return f + (1 - f) * 0.5 * twice
