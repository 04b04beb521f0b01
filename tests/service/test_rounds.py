"""Rounds: when one closes, what is applied, and a machine that plays workers against the promises of all rounds."""

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from app.errors import ContributionMismatch, NoQuorum, RoundOpen, StateDamaged
from app.worker_settings import RoundSettings
from app.workers import roster, rounds
from app.workers.arrivals import look_late, take
from app.workers.entry import Entry
from app.workers.ledger import Ledger
from app.workers.push import Push
from tests.examples import examples
from tests.service.pushes import BAD, ROUNDS, joined, push_of


def after(
    ledger: Ledger, *came: tuple[str, float], settings: RoundSettings = ROUNDS, step: int = 0, **fields: Any
) -> Ledger:
    """Return the ledger after these workers have contributed at these times."""
    for worker, at in came:
        ledger = take(settings, ledger, step, step + 1, push_of(ledger, worker, **fields), at, rejects=False).ledger
    return ledger


@pytest.mark.parametrize(
    ("times", "due"),
    [
        ([], None),
        ([5.0], None),
        ([5.0, 8.0], (10.0, "grace")),
        ([5.0, 64.0], (65.0, "deadline")),
        ([5.0, 90.0], (90.0, "deadline")),
        ([5.0, 8.0, 9.0], (9.0, "expected")),
    ],
)
def test_a_round_closes_by_grace_deadline_or_the_last_expected(
    times: Sequence[float], due: tuple[float, str] | None
) -> None:
    closes_at = due and due[0]
    ledger = after(joined("a", "b", "c"), *zip("abc", times, strict=False))
    now = rounds.progress(ROUNDS, ledger, 0)
    assert (now.round, now.have, now.need, now.closes_at) == (1, len(times), max(0, 2 - len(times)), closes_at)
    assert rounds.due_of(ROUNDS, ledger) == due
    assert rounds.is_due(ROUNDS, ledger, 1e9) == (closes_at is not None)
    if due is not None:
        assert rounds.is_due(ROUNDS, ledger, due[0])
        is_full = due[1] == "expected"
        assert rounds.is_due(ROUNDS, ledger, due[0] - 0.01) == is_full


def test_a_full_round_is_due_though_the_clock_jumps() -> None:
    ledger = after(joined("a", "b", "c"), ("a", 7200.0), ("b", 7200.0), ("c", 3600.0))
    assert rounds.is_due(ROUNDS, ledger, 3600.0)


def test_who_sends_no_finite_numbers_is_expected_no_longer() -> None:
    ledger = after(joined("a", "b", "c"), ("a", 1.0), not_finite=BAD)
    ledger = after(ledger, ("b", 2.0), ("c", 3.0))
    assert rounds.progress(ROUNDS, ledger, 0) == rounds.Progress(1, 2, 0, 3.0)
    closing = rounds.close(ROUNDS, ledger, 0)
    assert [(entry.worker, entry.fate, entry.reason) for entry in closing.entries] == [
        ("b", "applied", None),
        ("c", "applied", None),
        ("a", "dropped", "non_finite"),
    ]


def test_a_close_needs_the_quorum() -> None:
    ledger = after(joined("a", "b"), ("a", 1.0))
    with pytest.raises(NoQuorum) as refused:
        rounds.close(ROUNDS, ledger, 0)
    assert refused.value.fields == {"round": 1, "have": 1, "need": 1}
    closing = rounds.close(ROUNDS, after(ledger, ("b", 2.0)), 0)
    assert (closing.ledger.waiting, closing.ledger.dropped, closing.ledger.began) == ((), (), (1, 1.0))


def test_the_order_of_arrival_changes_nothing_that_is_applied() -> None:
    closings = [
        rounds.close(ROUNDS, after(joined("a", "b", "c"), *zip(order, (1.0, 2.0, 3.0), strict=True)), 0)
        for order in permutations("abc")
    ]
    for closing in closings:
        assert [contribution.worker for contribution in closing.applied] == ["a", "b", "c"]
        assert closing.entries == closings[0].entries


def test_the_loss_is_the_mean_by_weight() -> None:
    ledger = after(joined("a", "b", "c"), ("a", 1.0), loss=2.0, weight=1.0)
    ledger = after(ledger, ("b", 1.0), loss=5.0, weight=3.0)
    assert rounds.close(ROUNDS, ledger, 0).loss == (2.0 + 15.0) / 4
    assert rounds.close(ROUNDS, after(ledger, ("c", 1.0), weight=100.0), 0).loss == 4.25
    assert rounds.close(ROUNDS, after(joined("a", "b"), ("a", 1.0), ("b", 1.0)), 0).loss is None


def test_clipped_contributions_tell_their_scale() -> None:
    settings = RoundSettings(quorum=2, expected=2, aggregate="clipped_mean", max_norm=2.0)
    ledger = after(joined("a", "b"), ("a", 1.0), settings=settings, norm=8.0)
    closing = rounds.close(settings, after(ledger, ("b", 1.0), settings=settings, norm=0.0), 0)
    assert [entry.clip_scale for entry in closing.entries] == [0.25, 1.0]


def test_a_norm_far_over_the_others_is_named() -> None:
    ledger = after(joined("a", "b", "c"), ("a", 1.0), ("b", 1.0))
    [warning] = rounds.close(ROUNDS, after(ledger, ("c", 1.0), norm=10.5), 0).warnings
    assert "worker 'c'" in warning
    assert [warning] == list(rounds.close(ROUNDS, after(ledger, ("c", 1.0), norm=11.0), 0).warnings)
    assert rounds.close(ROUNDS, after(ledger, ("c", 1.0), norm=10.0), 0).warnings == ()


def test_contributions_whose_sum_is_not_finite_are_dropped() -> None:
    ledger = after(joined("a", "b"), ("a", 1.0), ("b", 2.0))
    spoiled = rounds.spoiled(ledger, 0)
    assert (spoiled.waiting, spoiled.round) == ((), None)
    assert [(drop.round, drop.entry.worker, drop.entry.reason) for drop in spoiled.dropped] == [
        (1, "a", "non_finite"),
        (1, "b", "non_finite"),
    ]


def test_contributions_of_another_round_are_damage() -> None:
    with pytest.raises(StateDamaged, match="contributions of round 1 wait, and the session is at step 7"):
        rounds.progress(ROUNDS, after(joined("a"), ("a", 1.0)), 7)


def test_other_writes_are_told_what_waits() -> None:
    rounds.check_settled(joined("a"), "nothing was changed")
    with pytest.raises(RoundOpen, match="nothing was changed: contributions wait in round 1"):
        rounds.check_settled(after(joined("a"), ("a", 1.0)), "nothing was changed")


NAMES = st.sampled_from("abc")
DIGESTS = st.sampled_from("de")
WEIGHTS = st.sampled_from([0.5, 1.0, 3.0])


class Rounds(RuleBasedStateMachine):
    """Workers that join, leave, contribute, repeat, come late, and close rounds; every answer that they got is kept."""

    def __init__(self) -> None:
        super().__init__()
        self.settings = RoundSettings(expected=3, quorum=2)
        self.ledger, self.step, self.now = Ledger(), 0, 0.0
        self.rows: dict[int, tuple[Entry, ...]] = {}
        self.accepted: dict[tuple[int, str], Push] = {}
        self.refused: list[tuple[int, Push, str | None]] = []

    @initialize()
    def all_join(self) -> None:
        self.ledger = joined("a", "b", "c")

    @rule(seconds=st.sampled_from([0.5, 3.0, 100.0, -50.0]))
    def passes(self, seconds: float) -> None:
        """Let time pass, or let the clock jump back."""
        self.now += seconds

    @rule(name=NAMES)
    def join(self, name: str) -> None:
        self.ledger = roster.join(self.settings, self.ledger, name, None, self.now).ledger

    @rule(name=NAMES)
    def leave(self, name: str) -> None:
        self.ledger = roster.leave(self.ledger, name)

    @rule(name=NAMES, digest=DIGESTS, weight=WEIGHTS)
    def contribute(self, name: str, digest: str, weight: float) -> None:
        """Contribute to the open round with the present epoch."""
        if name in self.ledger.workers:
            self.send(self.step + 1, push_of(self.ledger, name, digest, weight=weight))

    @rule(name=NAMES, behind=st.integers(0, 2), digest=DIGESTS, old=st.booleans(), bad=st.booleans())
    def err(self, name: str, behind: int, digest: str, old: bool, bad: bool) -> None:
        """Contribute to an earlier round, with an old epoch or with NaN."""
        worker = self.ledger.workers.get(name)
        epoch = max(1, (worker.epoch if worker else 1) - old)
        self.send(max(1, self.step + 1 - behind), Push(name, epoch, digest, norm=1.0, not_finite=BAD if bad else None))

    @rule(data=st.data())
    def repeat(self, data: st.DataObject) -> None:
        """Send an accepted contribution again: nothing changes, whatever became of the worker and the round."""
        if not self.accepted:
            return
        number, worker = data.draw(st.sampled_from(sorted(self.accepted)))
        before = self.ledger, dict(self.rows)
        self.send(number, self.accepted[number, worker])
        assert (self.ledger, self.rows) == before

    @rule(forced=st.booleans())
    def close(self, forced: bool) -> None:
        """Close the open round if it is due, or as a call asks for it: never without a quorum."""
        if not forced and not rounds.is_due(self.settings, self.ledger, self.now):
            return
        have = len(self.ledger.waiting)
        try:
            closing = rounds.close(self.settings, self.ledger, self.step)
        except NoQuorum:
            assert forced
            assert have < self.settings.quorum
            return
        assert len(closing.applied) == have >= self.settings.quorum
        assert closing.ledger.dropped == ()
        assert rounds.close(self.settings, self.ledger, self.step) == closing
        self.ledger, self.step = closing.ledger, closing.round
        self.rows[closing.round] = closing.entries

    def send(self, number: int, push: Push) -> None:
        before = self.ledger
        try:
            if number > self.step:
                decision = take(self.settings, before, self.step, number, push, self.now, rejects=True)
            else:
                decision = look_late(self.settings, before, self.step, number, push, self.rows[number], self.now)
        except ContributionMismatch:
            return  # it changes nothing, so it has no fate
        self.ledger = decision.ledger
        if decision.entries is not None:
            assert decision.entries[:-1] == self.rows[number]
            self.rows[number] = decision.entries
        if decision.error is None:
            kept = self.accepted.setdefault((number, push.worker), push)
            assert kept.digest == push.digest
        else:
            self.refused.append((number, push, decision.entry.reason))

    @invariant()
    def every_accepted_contribution_has_one_fate(self) -> None:
        for (number, worker), push in self.accepted.items():
            if number <= self.step:
                [entry] = [each for each in self.rows[number] if each.worker == worker and each.fate == "applied"]
            else:
                [entry] = [each.entry for each in self.ledger.waiting if each.worker == worker]
                assert entry.fate is None
            assert (entry.digest, entry.weight) == (push.digest, push.weight)

    @invariant()
    def nothing_else_is_applied(self) -> None:
        applied = [(number, e.worker) for number, row in self.rows.items() for e in row if e.fate == "applied"]
        waiting = [(self.step + 1, contribution.worker) for contribution in self.ledger.waiting]
        assert sorted(applied + waiting) == sorted(self.accepted)

    @invariant()
    def every_drop_is_recorded_once(self) -> None:
        for number, row in {**self.rows, self.step + 1: [drop.entry for drop in self.ledger.dropped]}.items():
            drops = [(e.worker, e.epoch, e.digest) for e in row if e.fate == "dropped"]
            assert len(drops) == len(set(drops))
            for of, push, reason in self.refused:
                if of == number and reason != "late":
                    assert (push.worker, push.epoch, push.digest) in drops

    @invariant()
    def epochs_only_rise(self) -> None:
        epochs = [worker.epoch for worker in self.ledger.workers.values()]
        assert len(epochs) == len(set(epochs))
        assert max(epochs, default=0) <= self.ledger.epoch


def test_any_order_of_calls_keeps_the_promises() -> None:
    run_state_machine_as_test(Rounds, settings=settings(examples(quick=40, whole=2000), stateful_step_count=25))
