"""The timing of competitors in turn, in a new order each round, so that a slow moment of the machine hits them all.

Knows neither their work nor the use of their times.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

Work = Callable[[], object]

WARM_UP = 3
FEWEST_ROUNDS = 5
LONGEST_SECONDS = 60.0
"""The most seconds for all rounds, once there were the fewest."""


@dataclass(frozen=True)
class Spread:
    """The times of the counted rounds in milliseconds: the median and both tenths."""

    median: float
    p10: float
    p90: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        p10, median, p90 = (round(float(value), 4) for value in np.percentile(values, (10, 50, 90)))
        return cls(median, p10, p90, len(values))


def in_turn(works: Mapping[str, Work], rounds: int) -> dict[str, Spread]:
    """Run each work once a round, without counting the warm-up; stop early if the rounds take too long."""
    times: dict[str, list[float]] = {name: [] for name in works}
    order, shuffle = list(works), random.Random(0).shuffle
    end = time.monotonic() + LONGEST_SECONDS
    for i in range(WARM_UP + rounds):
        if i >= WARM_UP + FEWEST_ROUNDS and time.monotonic() > end:
            break
        shuffle(order)
        for name in order:
            started = time.perf_counter_ns()
            works[name]()
            if i >= WARM_UP:
                times[name].append((time.perf_counter_ns() - started) / 1e6)
    return {name: Spread.of(values) for name, values in times.items()}
