"""The phases of a request: how long it took to receive, decode, load, compute, save and encode.

A request's phases follow each other. So code says only where one ends: all time since the border before is that
phase's. Time that is nobody's, such as a wait for other workers, is left out by `skip`.
"""

from collections.abc import Awaitable
from contextvars import ContextVar
from time import perf_counter
from typing import TypeVar

NAMES = ("receive", "decode", "load", "compute", "save", "encode")
"""
- `receive`: the body comes in, and waits for its place (`admission`);
- `decode`: the body becomes arrays;
- `load`: the request waits for its turn at the session, which is read, from memory or the store;
- `compute`: the engine's work, with the wait for a thread, and pieces that leave meanwhile;
- `save`: what is left of the compare-and-save, until the store has it;
- `encode`: the answer becomes bytes.
"""
RECEIVE, DECODE, LOAD, COMPUTE, SAVE, ENCODE = range(len(NAMES))

T = TypeVar("T")


class Phases:
    """The seconds that one request has spent in each phase. One that comes again, after a conflict, adds up."""

    __slots__ = ("_border", "borders", "seconds")

    def __init__(self, started: float = 0.0) -> None:
        """`started` is the time by `time.perf_counter`, as are all borders."""
        self._border = started
        self.seconds = [0.0] * len(NAMES)
        """Seconds by phase, in the order of `NAMES`."""
        self.borders: list[tuple[int, float, float]] | None = None
        """The number, start and end of each phase, if somebody has put a list here."""

    def end(self, phase: int) -> None:
        """End a phase: the time since the last border was spent in it."""
        now = perf_counter()
        self.seconds[phase] += now - self._border
        if self.borders is not None:
            self.borders.append((phase, self._border, now))
        self._border = now

    def skip(self) -> None:
        """Leave out the time since the last border."""
        self._border = perf_counter()

    def milliseconds(self) -> dict[str, float]:
        """Return the fields of a log line: `receive_ms` and so on, of those that took a hundredth of one or more."""
        return {
            FIELDS[i]: round(1000 * seconds, 2) for i, seconds in enumerate(self.seconds) if seconds >= SHORTEST_SECONDS
        }


FIELDS = tuple(f"{name}_ms" for name in NAMES)
SHORTEST_SECONDS = 1e-5

CURRENT: ContextVar[Phases] = ContextVar("phases", default=Phases())  # noqa: B039 - nobody reads those of no request
"""The phases of the request that is worked on."""


def end_phase(phase: int) -> None:
    """End a phase of the request that is worked on."""
    CURRENT.get().end(phase)


async def ending(phase: int, work: Awaitable[T]) -> T:
    """Return the result of `work`, with which a phase of the request ends, also if it fails."""
    try:
        return await work
    finally:
        CURRENT.get().end(phase)
