"""Deadlines for what a client must send and take on one connection. Knows no socket and no HTTP."""

from collections.abc import Callable
from dataclasses import dataclass

SLOWEST_BYTES_PER_SECOND = 1 << 14
"""The slowest rate at which a body or an answer may move: so many bytes extend its deadline by one second."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """The seconds that a client has to send a head, to send a body, and to take an answer."""

    head_seconds: float
    body_seconds: float
    answer_seconds: float

    @property
    def check_seconds(self) -> float:
        """Return the time between two checks of the deadlines."""
        return min(self.head_seconds, self.body_seconds, self.answer_seconds) / 4


@dataclass(slots=True)
class Deadline:
    """The deadline of one transfer. Each byte that moves extends it a little."""

    what: str
    since: float
    seconds: float
    nbytes: int = 0
    """Bytes that have moved."""
    _seen: int = 0
    _moved: float = 0.0
    """The time of the last check that saw more bytes."""

    def has_passed(self, now: float) -> bool:
        """Return whether the whole transfer is late, or if no byte has moved for `seconds`."""
        if self.nbytes != self._seen:
            self._seen, self._moved = self.nbytes, now
        return now >= max(self.since, self._moved) + self.seconds or (
            now >= self.since + self.seconds + self.nbytes / SLOWEST_BYTES_PER_SECOND
        )


class Deadlines:
    """The deadlines of one connection: one for the head or body that comes in, one for the answer that goes out."""

    _incoming: Deadline | None = None
    """`None` between requests."""
    _outgoing: Deadline | None = None
    """`None` while the client has taken everything."""
    _untaken = 0
    """Bytes that the client had not taken when the deadline of the answer began."""

    def __init__(self, timeouts: Timeouts, clock: Callable[[], float]) -> None:
        self._timeouts = timeouts
        self._clock = clock

    @property
    def has_incoming(self) -> bool:
        """Return true while a head or a body is incomplete."""
        return self._incoming is not None

    def expect_head(self) -> None:
        """Start the deadline of a head."""
        self._incoming = Deadline("head", self._clock(), self._timeouts.head_seconds)

    def expect_body(self) -> None:
        """Start the deadline of a body, in place of its head's."""
        self._incoming = Deadline("body", self._clock(), self._timeouts.body_seconds)

    def received(self, nbytes: int) -> None:
        """Count bytes of the body."""
        if self._incoming is not None:
            self._incoming.nbytes += nbytes

    def end_incoming(self) -> None:
        """Drop the deadline of the head or body."""
        self._incoming = None

    def expect_taking(self, untaken: int) -> None:
        """Start the deadline of an answer that has `untaken` bytes in the write buffer."""
        self._outgoing, self._untaken = Deadline("answer", self._clock(), self._timeouts.answer_seconds), untaken

    def end_outgoing(self) -> None:
        """Drop the deadline of the answer."""
        self._outgoing = None

    def late_incoming(self, is_paused: bool) -> Deadline | None:
        """Return the deadline of the head or body if it has passed; `is_paused` says that the service does not read."""
        if self._incoming is None:
            return None
        now = self._clock()
        if is_paused:
            self._incoming.since = now
        return self._incoming if self._incoming.has_passed(now) else None

    def late_outgoing(self, untaken: int, endless: int | None = None) -> Deadline | None:
        """Return the deadline of the answer if it has passed with `untaken` bytes in the write buffer.

        `endless` are the bytes written so far of an answer without an end. It is late if the client has taken nothing
        for the seconds of an answer.
        """
        if endless is not None:
            return self._late_endless(untaken, endless)
        if not untaken:
            self._outgoing = None
        elif self._outgoing is None:
            self.expect_taking(untaken)
        else:
            self._outgoing.nbytes = self._untaken - untaken
            return self._outgoing if self._outgoing.has_passed(self._clock()) else None
        return None

    def _late_endless(self, untaken: int, written: int) -> Deadline | None:
        taken, now = written - untaken, self._clock()
        if not untaken:
            self._outgoing = None
        elif self._outgoing is None or taken > self._outgoing.nbytes:
            self._outgoing = Deadline("answer", now, self._timeouts.answer_seconds, taken)
        elif now >= self._outgoing.since + self._outgoing.seconds:
            return self._outgoing
        return None
