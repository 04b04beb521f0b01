"""A client's debt to the service: a head, a body or the taking of an answer, and when it is due."""

from dataclasses import dataclass

SLOWEST_BYTES_PER_SECOND = 1 << 14
"""A body may take a second longer for each so many bytes that have come, an answer for each that were taken."""


@dataclass(slots=True)
class Debt:
    """Something that a client owes since a moment."""

    what: str
    since: float
    seconds: float
    paid: int = 0
    """Bytes: each makes it a little longer."""
    _seen: int = 0
    _moved: float = 0.0
    """When it was last seen that more had been paid."""

    def is_due(self, now: float) -> bool:
        """Say whether it is late: all of it, or, where nothing more is paid, the next byte."""
        if self.paid != self._seen:
            self._seen, self._moved = self.paid, now
        return now >= max(self.since, self._moved) + self.seconds or (
            now >= self.since + self.seconds + self.paid / SLOWEST_BYTES_PER_SECOND
        )
