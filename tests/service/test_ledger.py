"""The ledger as a value."""

from dataclasses import replace

from app.store.piece import Piece
from app.workers.entry import Entry
from app.workers.ledger import MOST_DROPPED, Contribution, Last, Ledger, Turn
from tests.service.pushes import joined


def test_a_dropped_contribution_is_recorded_once() -> None:
    entry = Entry("a", 1, "d", fate="dropped", reason="fenced")
    once = Ledger().with_dropped(4, entry)
    assert [(drop.round, drop.entry) for drop in once.dropped] == [(4, entry)]
    assert once.with_dropped(4, replace(entry, norm=1.0)) is once
    assert len(once.with_dropped(4, replace(entry, epoch=2)).dropped) == 2


def test_dropped_contributions_are_bounded() -> None:
    ledger = Ledger()
    for number in range(MOST_DROPPED + 9):
        ledger = ledger.with_dropped(1, Entry("a", 1, str(number), fate="dropped", reason="fenced"))
    assert len(ledger.dropped) == MOST_DROPPED


def test_a_contribution_renews_the_lease_and_keeps_the_turn() -> None:
    ledger = joined("a").with_last("a", Last(3, 40.0), 70.0, Turn(1, "d", 3))
    later = ledger.with_last("a", Last(4, 20.0), 50.0).workers["a"]
    assert (later.last, later.expires_at, later.turn) == (Last(4, 20.0), 70.0, Turn(1, "d", 3))


def test_the_pieces_are_those_of_all_waiting_contributions() -> None:
    one, two = Piece("1", 1, ""), Piece("2", 1, "")
    waiting = (
        Contribution(Entry("a", 1, "d"), 0.0, pieces=(one,)),
        Contribution(Entry("b", 2, "d"), 0.0, pieces=(two,)),
    )
    ledger = Ledger(round=1, waiting=waiting)
    assert ledger.pieces == (one, two)
    assert ledger.of("b") == waiting[1]
    assert ledger.of("c") is None
