"""A second implementation of lazy rows, on plain floats: one row with its own moments and count.

Like `oracle_rules.py`, it knows of the engine only the settings.
"""

import math
from typing import Any

from tests import oracle, oracle_rules


class Row:
    """A row of a table, with the logarithm of the decay that it has not taken yet."""

    def __init__(self, optimizer: str, config: Any, values: list[float]) -> None:
        self.optimizer, self.values = optimizer, values
        settings = config.to_dict()
        self.h, self.schedule = {**settings["hyperparameters"], **_later(optimizer, config)}, settings["schedule"]
        self.count, self.pending = 0, 0.0
        self.moments: list[oracle_rules.Moments] = [{} for _ in values]

    def step(self, s: int, g: list[float] | None) -> None:
        """Take the session's s-th step, which names the table, and this row if there is a gradient."""
        lr = self.h["lr"] * oracle.factor(self.schedule, s)
        if g is not None:
            self.values, self.pending = self.settled(), 0.0
            self.count += 1
            for i, x in enumerate(g):
                self._update(i, lr, x)
        elif oracle_rules.decoupled(self.optimizer, self.h):
            self.pending += math.log1p(-lr * self.h["weight_decay"])

    def _update(self, i: int, lr: float, g: float) -> None:
        rule, θ = oracle_rules.RULES[self.optimizer], self.values[i]
        seen = oracle_rules.gradient(self.optimizer, self.h, θ, g)
        self.moments[i] = rule.advance(self.h, self.count, seen, self.moments[i])
        self.values[i] = rule.apply(self.h, self.count, lr, θ, seen, self.moments[i])

    def settled(self) -> list[float]:
        """Return the row with the decay that it has not taken."""
        return [x * math.exp(self.pending) for x in self.values]


def _later(optimizer: str, config: Any) -> dict[str, Any]:
    """Return the hyperparameters that documents leave out where they are at their default."""
    return {"bias_correction": config.hyperparameters.bias_correction} if optimizer in ("adam", "adamw") else {}
