"""Learning rates: of each group, at one step."""

import math
from collections.abc import Mapping
from typing import TypeAlias

from optim_engine.config import Config
from optim_engine.errors import InvalidConfig
from optim_engine.fields import number

Rates: TypeAlias = Mapping[int | None, float]
"""The learning rate of each group; `None` stands for no group."""


def learning_rates(config: Config, step: int, given: float | None = None) -> Rates:
    """Return the learning rate of each group at the step of that number.

    One given for the step replaces the scheduled one, but not in groups with an lr or optimizer of their own. Raises
    `InvalidConfig` if one leaves the range of a float.
    """
    factor = config.schedule.at(step) if config.schedule else 1.0
    rates: dict[int | None, float] = {None: config.hyperparameters.lr * factor if given is None else read_lr(given)}
    for i, group in enumerate(config.groups):
        rates[i] = config.hyperparameters_of(i).lr * factor if group.has_own_lr else rates[None]
    if bad := [rate for rate in rates.values() if not math.isfinite(rate)]:
        raise InvalidConfig("schedule", f"makes the learning rate {bad[0]} at step {step}; change the schedule or lr")
    return rates


def read_lr(lr: object, where: str = "lr") -> float:
    """Return a learning rate given for one step. Raises `InvalidConfig`."""
    return float(_LR["read"](where, lr))


_LR = number(at_least=0).metadata
