"""A second implementation of the asynchronous mode: which contributions are a step each, and the fates of others.

It is written from the contract alone, and knows no HTTP, no store and no arithmetic.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.oracle_rounds import DONE, FENCED, Answer, Contribution, Fate, Roster, Round


@dataclass
class Stream:
    """The contributions to a session at `step`, which refuses one that is not finite.

    `apply` is called with the number of each step and with the contribution that it is made of.
    """

    max_staleness: int
    apply: Callable[[int, Sequence[Contribution]], None]
    step: int = 0
    roster: Roster = field(default_factory=Roster)
    turns: dict[str, Contribution] = field(default_factory=dict)
    """The last contribution of each worker that became a step. It is known also when its worker has left."""
    open: Round = field(default_factory=Round)
    past: dict[int, Round] = field(default_factory=dict)

    def push(self, one: Contribution) -> Answer:
        """Return what a contribution is answered."""
        last = self.turns.get(one.worker)
        if last and (last.seq, last.body) == (one.seq, one.body):
            return DONE
        if not self.roster.holds(one.worker, one.epoch):
            return self._dropped(one, "fenced", FENCED)
        if last and one.seq < last.seq:
            return Answer(409, "step_conflict")
        if last and one.seq == last.seq:
            return Answer(422, "contribution_mismatch")
        assert one.base_step is not None
        if self.step - one.base_step > self.max_staleness:
            return self._dropped(one, "stale", Answer(409, "stale"))
        if not one.is_finite:
            return self._dropped(one, "non_finite", Answer(422, "non_finite"))
        self._take(one)
        return DONE

    def fates(self, number: int) -> list[Fate]:
        """Return what became of each contribution up to a step, and since the one before."""
        return self.past[number].fates(is_open=False)

    def _take(self, one: Contribution) -> None:
        self.open.waiting[one.worker] = self.turns[one.worker] = one
        taken, self.open, self.step = self.open, Round(), self.step + 1
        self.past[self.step] = taken
        self.apply(self.step, [one])

    def _dropped(self, one: Contribution, reason: str, answer: Answer) -> Answer:
        if self.roster.has_given(one.epoch):
            self.open.drop(one, reason)
        return answer
