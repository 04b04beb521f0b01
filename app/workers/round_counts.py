"""The counts of what happens among workers: what a saved ledger and a closed round add to the metrics. Knows no HTTP.

Whose save won calls these functions, so that each event counts once.
"""

from app.metrics.rounds import RoundMetrics
from app.worker_settings import RoundSettings
from app.workers import rounds
from app.workers.ledger import Ledger


class RoundCounts:
    """The counts of one process."""

    def __init__(self, metrics: RoundMetrics) -> None:
        self._metrics = metrics

    def saved(self, before: Ledger, after: Ledger) -> None:
        """Count what a saved ledger has that the one before it had not: a join, what was dropped, bytes that came."""
        if after.epoch > before.epoch:
            self._metrics.count_join()
        for drop in after.dropped[len(before.dropped) :]:
            self.dropped(drop.entry.reason)
        self._metrics.count_bytes(max(0, _nbytes(after) - _nbytes(before)))

    def dropped(self, reason: str | None) -> None:
        """Count a contribution that was dropped for that reason."""
        if reason is not None:
            self._metrics.count_contribution(reason)

    def closed(self, settings: RoundSettings, before: Ledger, now: float, *, asked: bool) -> str:
        """Count a closed round, whose contributions that waited are applied; return the cause of its close."""
        due = rounds.due_of(settings, before)
        cause = due.cause if due is not None and not asked else "asked"
        self._metrics.count_round(cause, max(0.0, now - min(waiting.at for waiting in before.waiting)))
        for _ in before.waiting:
            self._metrics.count_contribution("applied")
        return cause

    def applied(self) -> None:
        """Count a contribution that was a step of its own."""
        self._metrics.count_contribution("applied")


def _nbytes(ledger: Ledger) -> int:
    return sum(piece.size for piece in ledger.pieces)
