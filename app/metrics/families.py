"""Families of metrics, counted in plain numbers: a step may count a dozen of them, and a library's counters have locks.

Each process counts for itself. A family says how the numbers of several processes are joined.
"""

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal, TypeAlias

Labels: TypeAlias = tuple[str, ...]
"""The values of a family's labels, in the order of their names."""
Values: TypeAlias = dict[Labels, list[float]]
"""The numbers of each combination of labels: one, or those of a `Spread`."""
Read: TypeAlias = Callable[[], float | Mapping[Labels, float] | None]
"""A function that returns a number, one for each combination of labels, or `None` if there is nothing to show."""
Join: TypeAlias = Literal["sum", "min", "own"]
"""The way in which the numbers of several processes become one; `own` are those of the process that is asked."""

SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
"""Bounds for times: a small step in memory takes a few tenths of a millisecond."""


class Family(ABC):
    """One metric with its labels. Prometheus sees a counter's name with `_total` behind it."""

    join: Join = "sum"
    lasts = True
    """True if the numbers of a process count on when it has ended."""

    def __init__(self, name: str, words: str, labels: Labels = ()) -> None:
        self.name = name
        self.words = words
        self.labels = labels

    @abstractmethod
    def values(self) -> Values:
        """Return the numbers of this process."""


class Counter(Family):
    """A number that only rises. `known` are values of its label that are shown from the start, as 0."""

    def __init__(self, name: str, words: str, labels: Labels = (), known: Iterable[str] = ()) -> None:
        super().__init__(name, words, labels)
        self.counts: defaultdict[Labels, float] = defaultdict(float, {(value,): 0.0 for value in known})
        if not labels:
            self.counts[()] = 0.0

    def add(self, *labels: str, amount: float = 1) -> None:
        """Count."""
        self.counts[labels] += amount

    def values(self) -> Values:
        return {labels: [count] for labels, count in self.counts.items()}


class Tally(Family):
    """A counter whose numbers another part of the service keeps."""

    def __init__(self, name: str, words: str, read: Read, labels: Labels = ()) -> None:
        super().__init__(name, words, labels)
        self._read = read

    def values(self) -> Values:
        found = self._read()
        if isinstance(found, Mapping):
            return {labels: [value] for labels, value in found.items()}
        return {} if found is None else {(): [found]}


class Gauge(Tally):
    """A number that is as it is now, read when it is asked for."""

    lasts = False

    def __init__(self, name: str, words: str, read: Read, labels: Labels = (), join: Join = "sum") -> None:
        super().__init__(name, words, read, labels)
        self.join = join


class Spread:
    """The numbers of a histogram: how many observations are in each bucket, not cumulated, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class Histogram(Family):
    """The numbers of observations in each bucket. `known` are values of its label that are shown from the start."""

    def __init__(
        self, name: str, words: str, bounds: Sequence[float], labels: Labels = (), known: Iterable[str] = ()
    ) -> None:
        super().__init__(name, words, labels)
        self.bounds = bounds
        self.spreads: dict[Labels, Spread] = {(value,): Spread(bounds) for value in known}
        if not labels:
            self.spreads[()] = Spread(bounds)

    def of(self, *labels: str) -> Spread:
        """Return the spread of these labels."""
        spread = self.spreads.get(labels)
        if spread is None:
            spread = self.spreads[labels] = Spread(self.bounds)
        return spread

    def values(self) -> Values:
        return {labels: [*spread.counts, spread.total] for labels, spread in self.spreads.items()}
