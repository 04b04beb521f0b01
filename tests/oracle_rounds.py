"""A second implementation of rounds: who is in, what becomes of each contribution, and when a round is a step.

It is written from the contract alone, goes by a clock that it is given, and knows no HTTP, no store and no arithmetic.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple


class Settings(NamedTuple):
    """The setting `workers` of a session, and what it does with a gradient that is not finite."""

    expected: int = 1
    quorum: int = 1
    deadline_seconds: float = 60.0
    grace_seconds: float = 2.0
    max_staleness: int = 0
    skips: bool = False


class Contribution(NamedTuple):
    """The contribution of a worker to a round. Two with the same `body`, which has all but the epoch, are the same."""

    worker: str
    epoch: int
    weight: float
    body: bytes
    is_finite: bool = True
    base_step: int | None = None
    seq: int = 0
    """The worker's own number of it, in the asynchronous mode."""


class Fate(NamedTuple):
    """The fate of a contribution, which is none while its round is open."""

    worker: str
    epoch: int
    weight: float
    fate: str | None
    reason: str | None = None


class Answer(NamedTuple):
    """The status of an answer, and the code of a refusal."""

    status: int
    code: str | None = None


ACCEPTED, DONE, FENCED = Answer(202), Answer(200), Answer(409, "worker_fenced")


class Roster:
    """The workers of a session, with the epochs that they were given."""

    def __init__(self) -> None:
        self.epochs: dict[str, int] = {}
        self._newest = 0

    def join(self, worker: str, epoch: int) -> None:
        """Let a worker join with an epoch, which must be above all others."""
        assert epoch > self._newest
        self.epochs[worker] = self._newest = epoch

    def renew(self, worker: str, epoch: int) -> Answer:
        return DONE if self.holds(worker, epoch) else FENCED

    def leave(self, worker: str) -> None:
        self.epochs.pop(worker, None)

    def has_given(self, epoch: int) -> bool:
        return epoch <= self._newest

    def holds(self, worker: str, epoch: int) -> bool:
        return self.epochs.get(worker) == epoch


class Dropped(NamedTuple):
    """A contribution that was dropped. It is dropped once, however often it comes."""

    one: Contribution
    reason: str


@dataclass
class Round:
    """A round: what waits in it, when each came, and what was dropped."""

    waiting: dict[str, Contribution] = field(default_factory=dict)
    came: list[float] = field(default_factory=list)
    dropped: list[Dropped] = field(default_factory=list)

    @property
    def present(self) -> int:
        """Return the number of workers from whom nothing more is expected."""
        spoiled = {drop.one.worker for drop in self.dropped if drop.reason == "non_finite"}
        return len(self.waiting.keys() | spoiled)

    def drop(self, one: Contribution, reason: str) -> None:
        if not self.reason_of(one):
            self.dropped.append(Dropped(one, reason))

    def reason_of(self, one: Contribution) -> str | None:
        """Return why the contribution was dropped in that epoch, if it was."""
        place = one.epoch, one.worker, one.body
        found = [drop.reason for drop in self.dropped if (drop.one.epoch, drop.one.worker, drop.one.body) == place]
        return found[0] if found else None

    def fates(self, *, is_open: bool) -> list[Fate]:
        waiting = [fate_of(one, None if is_open else "applied") for one in self.waiting.values()]
        return [*waiting, *(fate_of(drop.one, "dropped", drop.reason) for drop in self.dropped)]


@dataclass
class Rounds:
    """The rounds of a session at `step`. `apply` is called with a round's number and those that become its step."""

    settings: Settings
    apply: Callable[[int, Sequence[Contribution]], None]
    step: int = 0
    roster: Roster = field(default_factory=Roster)
    open: Round = field(default_factory=Round)
    past: dict[int, Round] = field(default_factory=dict)

    @property
    def have(self) -> int:
        return len(self.open.waiting)

    @property
    def need(self) -> int:
        return max(0, self.settings.quorum - self.have)

    @property
    def closes_at(self) -> float | None:
        """Return the moment at which the round is a step, which is unknown without a quorum."""
        if self.need:
            return None
        came, settings = sorted(self.open.came), self.settings
        at = came[settings.quorum - 1]
        return min(at + settings.grace_seconds, max(at, came[0] + settings.deadline_seconds))

    def is_due(self, now: float) -> bool:
        """Return whether the round is to be a step by now."""
        return self.closes_at is not None and (self.open.present >= self.settings.expected or self.closes_at <= now)

    def look(self, now: float) -> None:
        """Close the round if it is time."""
        if self.is_due(now):
            self._close()

    def push(self, now: float, number: int, one: Contribution) -> Answer:
        """Return what a contribution to the round `number` is answered."""
        if number > self.step + 1:
            return Answer(409, "step_conflict")
        if number <= self.step:
            return self._late(number, one)
        waiting = self.open.waiting.get(one.worker)
        if waiting and waiting.body == one.body:
            return self._answered(now, ACCEPTED)
        if not self.roster.holds(one.worker, one.epoch):
            return self._dropped(self.open, one, "fenced", FENCED)
        if waiting:
            return Answer(422, "contribution_mismatch")
        if one.base_step is not None and number - 1 - one.base_step > self.settings.max_staleness:
            return self._dropped(self.open, one, "stale", Answer(409, "stale"))
        return self._accepted(now, one)

    def _late(self, number: int, one: Contribution) -> Answer:
        past, closed = self.past[number], Answer(409, "round_closed")
        applied = past.waiting.get(one.worker)
        if applied and applied.body == one.body:
            return DONE
        if reason := past.reason_of(one):
            return FENCED if reason == "fenced" else closed
        if not self.roster.holds(one.worker, one.epoch):
            return self._dropped(past, one, "fenced", FENCED)
        return closed if applied else self._dropped(past, one, "late", closed)

    def _accepted(self, now: float, one: Contribution) -> Answer:
        if one.is_finite:
            self.open.waiting[one.worker] = one
            self.open.came.append(now)
            return self._answered(now, ACCEPTED)
        self.open.drop(one, "non_finite")
        return self._answered(now, ACCEPTED if self.settings.skips else Answer(422, "non_finite"))

    def _answered(self, now: float, answer: Answer) -> Answer:
        """Close the round if it is time; return the answer, which is then that of the step."""
        before = self.step
        self.look(now)
        return DONE if self.step > before and answer == ACCEPTED else answer

    def close(self, number: int) -> Answer:
        """Close the round with those who are in."""
        if number <= self.step:
            return Answer(409, "round_closed")
        if number > self.step + 1:
            return Answer(409, "step_conflict")
        if self.need:
            return Answer(409, "no_quorum")
        self._close()
        return Answer(200)

    def fates(self, number: int) -> list[Fate]:
        """Return what became of each contribution to a round."""
        if number <= self.step:
            return self.past[number].fates(is_open=False)
        return self.open.fates(is_open=True)

    def _close(self) -> None:
        closed, self.open, self.step = self.open, Round(), self.step + 1
        self.past[self.step] = closed
        self.apply(self.step, list(closed.waiting.values()))

    def _dropped(self, place: Round, one: Contribution, reason: str, answer: Answer) -> Answer:
        if self.roster.has_given(one.epoch):
            place.drop(one, reason)
        return answer


def fate_of(one: Contribution, fate: str | None, reason: str | None = None) -> Fate:
    return Fate(one.worker, one.epoch, one.weight, fate, reason)


def in_order(these: Iterable[Contribution]) -> list[Contribution]:
    """Return them in the order of the workers' names, by their bytes."""
    return sorted(these, key=lambda one: one.worker.encode())
