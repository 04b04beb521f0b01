"""The documents of workers and rounds."""

from app.workers import round_views
from app.workers.entry import Entry
from app.workers.ledger import Contribution, Ledger, Worker
from app.workers.rounds import Progress

WAITS = Contribution(Entry("a", 1, "digest of a", norm=0.5), 10.0)


def test_an_open_round_lists_who_waits_and_what_was_dropped() -> None:
    ledger = Ledger(round=3, waiting=(WAITS,)).with_dropped(3, Entry("b", 2, "d", fate="dropped", reason="fenced"))
    found = round_views.opened(Progress(3, 1, 1, None), ledger)
    assert (found["state"], found["closes_at"], found["step"]) == ("open", None, None)
    assert found["contributions"] == [
        {"worker": "a", "epoch": 1, "weight": 1.0, "norm": 0.5, "fate": None},
        {"worker": "b", "epoch": 2, "weight": 1.0, "fate": "dropped", "reason": "fenced"},
    ]


def test_a_round_without_a_row_has_no_contributions() -> None:
    found = round_views.applied(3, None)
    assert (found["state"], found["step"], found["digest"], found["contributions"]) == ("applied", 3, None, [])


def test_a_worker_that_has_not_contributed_has_no_last_round() -> None:
    (worker,) = round_views.roster(Ledger().with_worker(Worker("a", 1, 0.0)), 1.0)["workers"]
    assert worker["expired"]
    assert (worker["last_round"], worker["lateness_seconds"]) == (None, None)
    assert worker["lease_expires_at"] == "1970-01-01T00:00:00.000Z"
