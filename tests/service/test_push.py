"""A push, and the record that is made of it."""

from app.workers.entry import Entry
from app.workers.push import Push

PUSH = Push("a", 2, "d", weight=3.0, norm=0.5, seq=4)


def test_an_entry_has_what_is_known_of_a_push() -> None:
    assert PUSH.entry() == Entry("a", 2, "d", 3.0, 0.5, seq=4)
    assert PUSH.dropped("late") == Entry("a", 2, "d", 3.0, 0.5, "dropped", "late", seq=4)


def test_a_contribution_is_known_again_with_another_epoch() -> None:
    assert PUSH.is_in(Entry("a", 1, "d"))
    assert not PUSH.is_in(Entry("b", 2, "d"))
    assert not PUSH.is_in(Entry("a", 2, "e"))
