"""The metrics of the calls to the store."""

from app.metrics.families import Counter, Family, Histogram

VERBS = (
    "load", "read", "save", "confirm", "delete", "used", "claim", "list", "is_listed", "history", "given", "latest",
    "newer", "marks", "outline", "keep_outline", "ledger", "save_ledger", "contents", "due", "now", "ping", "usage",
    "sweep",
)  # fmt: skip
STORE_SECONDS = (0.0001, 0.00025, 0.001, 0.0025, 0.01, 0.025, 0.1, 0.25, 1, 5)


class StoreMetrics:
    """The metrics of the store as its callers see it."""

    def __init__(self) -> None:
        self._seconds = Histogram(
            "optim_store_seconds", "Time of calls to the store, in seconds.", STORE_SECONDS, ("verb",), VERBS
        )
        self._errors = Counter("optim_store_errors", "Calls to the store that failed.", ("verb",), VERBS)
        self._conflicts = Counter("optim_store_conflicts", "Writes that lost against another writer.")
        self.families: list[Family] = [self._seconds, self._errors, self._conflicts]

    def count(self, verb: str, seconds: float) -> None:
        """Count a call."""
        self._seconds.of(verb).observe(seconds)

    def count_error(self, verb: str) -> None:
        """Count a call that failed."""
        self._errors.add(verb)

    def count_conflict(self) -> None:
        """Count a write that lost against another writer, which may be tried again."""
        self._conflicts.add()
