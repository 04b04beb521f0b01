"""The metrics of steps: what became of them, and where their time went."""

from bisect import bisect_left
from collections.abc import Sequence

from app.metrics.families import Counter, Family, Histogram
from app.web.phases import NAMES

OUTCOMES = ("applied", "skipped", "replayed")
PHASE_SECONDS = (0.00001, 0.000025, 0.0001, 0.00025, 0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 1, 2.5, 10)


class StepMetrics:
    """The metrics of steps."""

    def __init__(self) -> None:
        self._outcomes = Counter("optim_steps", "Steps answered, by what became of them.", ("outcome",), OUTCOMES)
        self._phases = Histogram(
            "optim_step_phase_seconds",
            "Time of a request that was answered with a step in each of its phases, in seconds.",
            PHASE_SECONDS,
            ("phase",),
            NAMES,
        )
        self._spreads = [self._phases.of(name) for name in NAMES]
        self.families: list[Family] = [self._outcomes, self._phases]

    def count(self, outcome: str) -> None:
        """Count a step that was answered."""
        self._outcomes.add(outcome)

    def count_phases(self, seconds: Sequence[float]) -> None:
        """Count the time of a step in each phase, in the order of the phases."""
        for spread, spent in zip(self._spreads, seconds, strict=True):
            spread.counts[bisect_left(PHASE_SECONDS, spent)] += 1
            spread.total += spent
