"""Contributions as they arrive, in rounds and in the asynchronous mode: the tables of decisions, line by line."""

from dataclasses import replace
from typing import Any

import pytest

from app.errors import ContributionMismatch, NonFinite, QuotaExceeded, RoundClosed, Stale, StepConflict, WorkerFenced
from app.store.piece import Piece
from app.worker_settings import MOST_WORKERS, AsyncSettings, RoundSettings
from app.workers import async_arrivals, rounds
from app.workers.arrivals import look, look_late, take
from app.workers.decision import Decision
from app.workers.entry import Entry
from app.workers.ledger import Contribution, Last, Ledger, Turn
from app.workers.push import Push
from tests.service.pushes import ASYNC, BAD, ROUNDS, joined, push_of

STEP, OPEN = 4, 5


def taken(ledger: Ledger, push: Push, at: float = 10.0, *, settings: RoundSettings = ROUNDS) -> Decision:
    return take(settings, ledger, STEP, OPEN, push, at, rejects=True)


def test_a_new_contribution_waits_in_the_order_of_names() -> None:
    ledger, piece = joined("a", "b"), Piece("1", 1, "")
    for name, at in (("b", 10.0), ("a", 12.5)):
        decision = taken(ledger, push_of(ledger, name, weight=2.0, loss=0.5, pieces=(piece,)), at)
        ledger = decision.ledger
        assert (decision.error, decision.repeated, decision.entry.fate) == (None, False, None)
    assert ledger.round == OPEN
    assert [contribution.worker for contribution in ledger.waiting] == ["a", "b"]
    assert ledger.waiting[0] == Contribution(Entry("a", 1, "a", 2.0, 1.0), 12.5, 0.5, (piece,))
    assert [ledger.workers[name].last for name in "ab"] == [Last(5, 12.5, 2.5), Last(5, 10.0, 0.0)]
    assert ledger.workers["a"].expires_at == 42.5


def test_the_same_again_changes_nothing_with_any_epoch() -> None:
    ledger = joined("a")
    first = push_of(ledger, "a")
    ledger = joined("a", ledger=taken(ledger, first).ledger)
    for again in (first, push_of(ledger, "a")):
        decision = taken(ledger, again, 99.0)
        assert (decision.ledger is ledger, decision.repeated, decision.error) == (True, True, None)
        assert look(ROUNDS, ledger, STEP, OPEN, again, 99.0) == decision


def test_what_was_kept_first_stays() -> None:
    ledger = joined("a")
    ledger = joined("a", ledger=taken(ledger, push_of(ledger, "a")).ledger)
    with pytest.raises(ContributionMismatch, match="wait for the round to close") as refused:
        taken(ledger, push_of(ledger, "a", "other"))
    assert refused.value.fields == {"round": OPEN, "worker": "a"}


def test_a_round_that_is_not_open_yet_is_a_conflict() -> None:
    ledger = joined("a")
    with pytest.raises(StepConflict, match="contribute to round 5") as refused:
        take(ROUNDS, ledger, STEP, OPEN + 1, push_of(ledger, "a"), 0.0, rejects=True)
    assert refused.value.fields == {"current_step": STEP}


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"epoch": 1}, WorkerFenced, "fenced"),
        ({"worker": "stranger"}, WorkerFenced, "fenced"),
        ({"base_step": 3}, Stale, "stale"),
        ({"not_finite": BAD}, NonFinite, "non_finite"),
    ],
)
def test_a_refused_contribution_is_dropped_once(change: Any, error: type[Exception], reason: str) -> None:
    ledger = joined("a", "a")
    refused = replace(push_of(ledger, "a"), **change)
    for _ in range(2):
        decision = taken(ledger, refused)
        assert isinstance(decision.error, error)
        assert decision.entry.reason == reason
        ledger = decision.ledger
    assert [(drop.round, drop.entry) for drop in ledger.dropped] == [(OPEN, decision.entry)]
    assert ledger.waiting == ()
    assert taken(ledger, push_of(ledger, "a", "other")).error is None


def test_a_round_has_room_for_as_many_as_a_session() -> None:
    ledger = joined("z")
    entries = [Entry(f"w{number:04}", 1, "d") for number in range(MOST_WORKERS)]
    full = replace(ledger, round=OPEN, waiting=tuple(Contribution(entry, 0.0) for entry in entries))
    with pytest.raises(QuotaExceeded, match="1024 contributions"):
        taken(full, push_of(ledger, "z"))


# Closed rounds

ROW = (Entry("a", 1, "a", norm=1.0, fate="applied"), Entry("b", 2, "b", fate="dropped", reason="non_finite"))


def late(ledger: Ledger, push: Push, row: tuple[Entry, ...] | None = ROW) -> Decision:
    return look_late(ROUNDS, ledger, STEP, STEP, push, row, 50.0)


def test_an_applied_contribution_is_known_with_any_epoch() -> None:
    ledger = joined("a", "b", "a")
    for epoch in (1, 3):
        decision = late(ledger, push_of(ledger, "a", epoch=epoch))
        assert (decision.error, decision.repeated, decision.entry, decision.entries) == (None, True, ROW[0], None)
        assert decision.ledger is ledger


def test_a_late_contribution_is_recorded_with_the_round() -> None:
    ledger = replace(joined("a", "b", "c"), began=(STEP, 20.0))
    push = push_of(ledger, "c")
    first = late(ledger, push)
    assert isinstance(first.error, RoundClosed)
    assert first.error.fields == {"round": STEP, "current_step": STEP, "fate": "dropped", "reason": "late"}
    assert first.entries == (*ROW, first.entry)
    assert first.ledger.workers["c"].last == Last(STEP, 50.0, 30.0)
    again = late(first.ledger, push, first.entries)
    assert (again.entries, again.ledger is first.ledger, again.repeated) == (None, True, True)
    assert isinstance(again.error, RoundClosed)


def test_a_dropped_contribution_keeps_its_fate() -> None:
    ledger = joined("a", "b")
    decision = late(ledger, push_of(ledger, "b"))
    assert (decision.entry, decision.entries) == (ROW[1], None)
    assert isinstance(decision.error, RoundClosed)


def test_an_old_epoch_is_fenced_at_a_closed_round_too() -> None:
    ledger = joined("a", "b", "c", "c")
    first = late(ledger, push_of(ledger, "c", epoch=3))
    assert isinstance(first.error, WorkerFenced)
    assert first.ledger is ledger
    assert first.entries == (*ROW, first.entry)
    assert first.entry.reason == "fenced"
    again = late(ledger, push_of(ledger, "c", epoch=3), first.entries)
    assert isinstance(again.error, WorkerFenced)
    assert again.entries is None
    present = late(ledger, push_of(ledger, "c"), first.entries)
    assert isinstance(present.error, RoundClosed)
    assert present.entries == (*ROW, first.entry, present.entry)


def test_the_place_of_an_applied_contribution_has_no_second_fate() -> None:
    ledger = joined("a", "b")
    decision = late(ledger, push_of(ledger, "a", "other"))
    assert isinstance(decision.error, RoundClosed)
    assert (decision.entries, decision.ledger is ledger) == (None, True)


def test_a_round_that_history_has_forgotten_records_nothing() -> None:
    ledger = joined("a", "b")
    decision = late(ledger, push_of(ledger, "a"), None)
    assert isinstance(decision.error, RoundClosed)
    assert decision.entries is None


# The asynchronous mode


def stepped(ledger: Ledger, push: Push, settings: AsyncSettings = ASYNC) -> async_arrivals.Application:
    assert async_arrivals.look(settings, ledger, STEP, push) is None
    return async_arrivals.apply(settings, ledger, STEP, push, 10.0)


def test_each_asynchronous_contribution_is_a_step() -> None:
    ledger = joined("a", "a")
    refused = async_arrivals.look(ASYNC, ledger, STEP, push_of(ledger, "a", epoch=1, seq=7, base_step=4))
    assert refused is not None
    done = stepped(refused.ledger, push_of(ledger, "a", seq=7, base_step=1))
    assert [(entry.fate, entry.reason, entry.seq, entry.staleness) for entry in done.entries] == [
        ("applied", None, 7, 3),
        ("dropped", "fenced", 7, None),
    ]
    assert (done.staleness, done.lr_divisor, done.ledger.dropped) == (3, 1.0, ())
    assert done.ledger.workers["a"].turn == Turn(7, "a", STEP + 1)
    assert stepped(ledger, push_of(ledger, "a", seq=7, base_step=1), AsyncSettings(staleness="scale")).lr_divisor == 2.0


def test_the_last_number_again_is_known_by_its_content() -> None:
    ledger = joined("a")
    first = push_of(ledger, "a", seq=7, base_step=4)
    ledger = joined("a", ledger=stepped(ledger, first).ledger)
    for again in (first, push_of(ledger, "a", seq=7, base_step=4)):
        decision = async_arrivals.look(ASYNC, ledger, STEP + 1, again)
        assert decision is not None
        assert (decision.repeated, decision.ledger is ledger) == (True, True)
    with pytest.raises(ContributionMismatch, match="number the next one 8"):
        async_arrivals.look(ASYNC, ledger, STEP + 1, push_of(ledger, "a", "other", seq=7, base_step=4))
    with pytest.raises(StepConflict) as refused:
        async_arrivals.look(ASYNC, ledger, STEP + 1, push_of(ledger, "a", seq=6, base_step=4), applied_as=3)
    assert refused.value.fields == {"current_step": STEP + 1, "applied_as_step": 3}


def test_a_refused_asynchronous_contribution_leaves_its_number_free() -> None:
    ledger = joined("a")
    stale = async_arrivals.look(AsyncSettings(max_staleness=1), ledger, STEP, push_of(ledger, "a", seq=1, base_step=2))
    assert stale is not None
    assert isinstance(stale.error, Stale)
    bad = async_arrivals.refuse_not_finite(stale.ledger, STEP, push_of(ledger, "a", "bad", seq=1, not_finite=BAD))
    assert isinstance(bad.error, NonFinite)
    done = stepped(bad.ledger, push_of(ledger, "a", "new", seq=1, base_step=4))
    assert [entry.reason for entry in done.entries] == [None, "stale", "non_finite"]


def test_modes_may_change_between_steps() -> None:
    """A number of the asynchronous mode stays known through rounds."""
    ledger = joined("a", "b")
    ledger = stepped(ledger, push_of(ledger, "a", seq=7, base_step=4)).ledger
    for name in "ab":
        push = push_of(ledger, name, "in a round")
        ledger = take(ROUNDS, ledger, STEP + 1, OPEN + 1, push, 11.0, rejects=True).ledger
    ledger = rounds.close(ROUNDS, ledger, STEP + 1).ledger
    again = async_arrivals.look(ASYNC, ledger, OPEN + 1, push_of(ledger, "a", seq=7, base_step=4))
    assert again is not None
    assert again.repeated
