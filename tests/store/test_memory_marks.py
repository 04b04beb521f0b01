"""The marks of a session in memory."""

from app.store.history import MOST_MARKS, Mark
from app.store.memory_marks import Marks


def test_the_oldest_marks_go_beyond_the_limit() -> None:
    marks = Marks()
    for number in range(1, MOST_MARKS + 3):
        marks.add(Mark("undo", b"%d" % number), number)
    assert len(marks.bodies()) == MOST_MARKS
    assert marks.bodies()[0] == b"3"


def test_newer_marks_are_those_with_greater_numbers() -> None:
    marks = Marks()
    for number in (2, 5, 9):
        marks.add(Mark("settings", b""), number)
    assert [mark.number for mark in marks.newer(2)] == [5, 9]
