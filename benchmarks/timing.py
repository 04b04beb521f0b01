"""The timing of competitors: in turns, or alone in blocks of their own.

Turns have a new order each round, so that a slow moment of the machine hits all competitors. This module knows neither
their work nor the use of their times.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self, TypeAlias

import numpy as np

Work: TypeAlias = Callable[[], object]
Timing: TypeAlias = Callable[[Mapping[str, Work], int], "dict[str, Spread]"]
"""A function that runs each work so many times, and returns its times."""

WARM_UP = 3
FEWEST_ROUNDS = 5
LONGEST_SECONDS = 60.0
"""The most seconds for all rounds, once there were the fewest."""
REST_SECONDS = 0.015
"""The time for which torch's threads poll after a step, twice: they would take a core from whoever is next."""
BLOCK = 50
"""The most rounds of a block. Before them as many run as a warm-up, because the one before has the caches."""


@dataclass(frozen=True)
class Spread:
    """The counted rounds, in milliseconds unless the group has its own unit: the median and both tenths."""

    median: float
    p10: float
    p90: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        p10, median, p90 = (round(float(value), 4) for value in np.percentile(values, (10, 50, 90)))
        return cls(median, p10, p90, len(values))


def in_turn(works: Mapping[str, Work], rounds: int, warm_up: int = WARM_UP, rest: float = 0.0) -> dict[str, Spread]:
    """Run each work once a round, without counting the warm-up; stop early if the rounds take too long.

    Before each work so many seconds of `rest` are not counted either.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    order, shuffle = list(works), random.Random(0).shuffle
    end = time.monotonic() + LONGEST_SECONDS
    for i in range(warm_up + rounds):
        if i >= warm_up + FEWEST_ROUNDS and time.monotonic() > end:
            break
        shuffle(order)
        for name in order:
            if rest:
                time.sleep(rest)
            taken = _milliseconds(works[name])
            if i >= warm_up:
                times[name].append(taken)
    return {name: Spread.of(values) for name, values in times.items()}


def alone(works: Mapping[str, Work], rounds: int) -> dict[str, Spread]:
    """Run each work in blocks, without counting the first half of each; the blocks of the works take turns."""
    times: dict[str, list[float]] = {name: [] for name in works}
    order, shuffle = list(works), random.Random(0).shuffle
    for start in range(0, rounds, BLOCK):
        size = min(BLOCK, rounds - start)
        shuffle(order)
        for name in order:
            times[name] += [_milliseconds(works[name]) for _ in range(2 * size)][size:]
    return {name: Spread.of(values) for name, values in times.items()}


def _milliseconds(work: Work) -> float:
    started = time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - started) / 1e6
