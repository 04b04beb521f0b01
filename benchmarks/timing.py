"""Two pieces of work in turn, so that a machine that slows down slows both: medians, and the ratio of the medians."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

Work = Callable[[], object]


@dataclass(frozen=True)
class Comparison:
    """Milliseconds, and how often `this` fits into `that`."""

    this: str
    that: str
    this_ms: float
    that_ms: float

    @property
    def ratio(self) -> float:
        return self.this_ms / self.that_ms


def compare(this: tuple[str, Work], that: tuple[str, Work], rounds: int = 15, warmup: int = 2) -> Comparison:
    """Run both in turn, `rounds` times after a warm-up."""
    times: dict[str, list[float]] = {this[0]: [], that[0]: []}
    for i in range(warmup + rounds):
        for name, work in (this, that):
            started = time.perf_counter()
            work()
            if i >= warmup:
                times[name].append(1000 * (time.perf_counter() - started))
    medians = {name: statistics.median(values) for name, values in times.items()}
    return Comparison(this[0], that[0], medians[this[0]], medians[that[0]])
