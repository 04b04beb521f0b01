"""Earlier generations of a session: what a step keeps, and what of it an undo finds."""

from dataclasses import replace

import pytest

from app import generations
from app.errors import StepConflict, UndoUnavailable
from app.session import Session
from app.session_document import read_document, write_document
from app.store.base import Save
from optim_engine import Config
from tests.store.changes import change_of, row

SESSION = Session("session-1", "tenant-1", Config.parse("adam"), 1.5, 2.5, undo=2, step=3)


def kept(times: int, *, skipped: bool = False) -> Save:
    """Return the last of that many saves of steps, each kept."""
    save = change_of(None)
    for step in range(times):
        save = generations.keep(change_of(save.head, [b"%d" % step], row=row(step)), SESSION, skipped=skipped)
    return save


def test_the_oldest_beyond_the_setting_is_dropped() -> None:
    assert [generation.version for generation in kept(1).head.earlier] == [2]
    assert [generation.version for generation in kept(5).head.earlier] == [6, 5]


def test_a_skipped_step_keeps_what_was_kept() -> None:
    before = kept(3)
    after = generations.keep(change_of(before.head, row=row(3)), SESSION, skipped=True)
    assert (after.head.earlier, after.beside) == (before.head.earlier, ())


def test_a_generation_has_the_document_and_the_row() -> None:
    save = kept(2)
    [(piece, data)] = save.beside
    assert piece == save.head.earlier[0].document == generations.with_document(save.head).pieces[0]
    then, row_of_step = generations.read(save.head, bytes(data))
    assert (write_document(read_document(then)), row_of_step) == (write_document(SESSION), row(1).body)
    assert (then.stamp, then.pieces) == (save.head.stamp, save.head.earlier[0].pieces)


def test_only_the_last_step_can_be_undone() -> None:
    head = kept(1).head
    assert generations.newest(SESSION, head, 3) == head.earlier[0]
    for step in (2, 4):
        with pytest.raises(StepConflict, match="the session is at step 3") as conflict:
            generations.newest(SESSION, head, step)
        assert conflict.value.fields == {"current_step": 3}
    for session in (SESSION, replace(SESSION, undo=0)):
        with pytest.raises(UndoUnavailable, match=f"`undo` is {session.undo}"):
            generations.newest(session, change_of(None).head, 3)


def test_the_row_of_an_undone_step_says_so() -> None:
    head = kept(2).head
    undone = generations.undone(SESSION, head, b'{"step":3}')
    assert undone == ((3, 3, b'{"step":3,"undone":true}'), None)
