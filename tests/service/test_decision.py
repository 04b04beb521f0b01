"""The refusals that rounds and the asynchronous mode share: what they say, and what they record."""

from dataclasses import replace

import pytest

from app.errors import InvalidSession, NonFinite, Stale, StepConflict, WorkerFenced
from app.worker_settings import RoundSettings
from app.workers.decision import check_weight, fence, not_finite, stale
from tests.service.pushes import ASYNC, BAD, ROUNDS, joined, push_of


def test_an_old_epoch_is_fenced_and_recorded() -> None:
    ledger = joined("a", "a")
    assert fence(ledger, 4, push_of(ledger, "a")) is None
    fenced = fence(ledger, 4, push_of(ledger, "a", epoch=1))
    assert fenced is not None
    assert isinstance(fenced.error, WorkerFenced)
    with pytest.raises(InvalidSession):
        fence(ledger, 4, replace(push_of(ledger, "a"), worker="a" * 129))
    [drop] = fenced.ledger.dropped
    assert (drop.round, drop.entry, drop.entry.reason) == (5, fenced.entry, "fenced")


def test_staleness_counts_from_the_step_that_the_round_begins_with() -> None:
    settings, ledger = RoundSettings(max_staleness=2), joined("a")
    for base in (None, 9, 7):
        assert stale(settings, ledger, 9, push_of(ledger, "a", base_step=base)) is None
    refused = stale(settings, ledger, 9, push_of(ledger, "a", base_step=6))
    assert refused is not None
    assert isinstance(refused.error, Stale)
    assert refused.error.fields == {"current_step": 9, "staleness": 3}
    assert refused.ledger.dropped[0].entry.reason == "stale"
    with pytest.raises(StepConflict, match="beyond the session"):
        stale(settings, ledger, 9, push_of(ledger, "a", base_step=10))


def test_a_non_finite_number_is_told_if_rejected() -> None:
    ledger = joined("a")
    push = push_of(ledger, "a", not_finite=BAD)
    silent, told = (not_finite(ledger, 5, push, rejects=rejects) for rejects in (False, True))
    assert silent.error is None
    assert isinstance(told.error, NonFinite)
    assert told.error.fields == {"tensor": "w", "index": (1, 2), "round": 5}
    assert silent.ledger.dropped == told.ledger.dropped
    assert silent.entry.reason == "non_finite"


def test_weights_are_for_aggregates_that_weigh() -> None:
    ledger = joined("a")
    heavy = push_of(ledger, "a", weight=2.0)
    check_weight(ROUNDS, heavy)
    for settings in (RoundSettings(aggregate="median"), RoundSettings(aggregate="trimmed_mean", trim=0.1), ASYNC):
        check_weight(settings, push_of(ledger, "a"))
        with pytest.raises(InvalidSession, match="takes weight 1 alone"):
            check_weight(settings, heavy)
