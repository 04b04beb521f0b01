"""The metrics of sessions with many workers."""

from app.metrics.families import Counter, Family, Histogram

ROUND_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)
FATES = ("applied", "late", "stale", "fenced", "non_finite")
CAUSES = ("expected", "grace", "deadline", "asked")


class RoundMetrics:
    """The metrics of sessions with many workers. The process whose save won counts, so that each event counts once."""

    def __init__(self) -> None:
        self._joins = Counter("optim_workers_joined", "Workers joined, each new epoch once.")
        self._contributions = Counter("optim_contributions", "Contributions by their fate.", ("fate",), FATES)
        self._rounds = Counter("optim_rounds", "Rounds closed, by the cause.", ("cause",), CAUSES)
        self._seconds = Histogram(
            "optim_round_seconds",
            "Time from the first contribution of a round to its close, in seconds.",
            ROUND_SECONDS,
        )
        self._bytes = Counter("optim_contribution_bytes", "Bytes of contributions to rounds.")
        self.families: list[Family] = [self._joins, self._contributions, self._rounds, self._seconds, self._bytes]

    def count_join(self) -> None:
        """Count a worker that joined."""
        self._joins.add()

    def count_contribution(self, fate: str) -> None:
        """Count a contribution whose fate is decided: `applied`, or the reason why it was dropped."""
        self._contributions.add(fate)

    def count_round(self, cause: str, seconds: float) -> None:
        """Count a round that was closed, so many seconds after its first contribution."""
        self._rounds.add(cause)
        self._seconds.of().observe(seconds)

    def count_bytes(self, nbytes: int) -> None:
        """Count the bytes of a contribution to a round that was taken."""
        self._bytes.add(amount=nbytes)
