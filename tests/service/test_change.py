"""The parts that all changes of a session have."""

import pytest

from app import change
from app.change import head_of, used_keys
from app.once import Done, Once
from app.session import Session
from app.session_document import write_document
from optim_engine import Config

SESSION = Session("id", "tenant", Config.parse("adam"), 1.0, 2.0)


def test_a_save_uses_old_keys_before_its_own() -> None:
    old, new = Done("1", 1), Done("2", 2)
    keys = used_keys(SESSION.after(old_keys={"a": old, None: old}), Once("POST …/steps", key="b"), new)
    assert keys == (old.used("a"), new.used("b"))


@pytest.mark.parametrize(("inline_below", "is_unwritten"), [(0, False), (1 << 20, True)])
def test_only_a_long_document_is_written_at_once(
    inline_below: int, is_unwritten: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(change, "INLINE_BELOW", inline_below)
    head = head_of(SESSION, 1, "token", ())
    assert head.is_unwritten is is_unwritten
    assert head.document == write_document(SESSION)
