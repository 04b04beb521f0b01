"""The arguments of the script that saves."""

import time
from dataclasses import replace

import pytest

from app.store.keys import KeyMemory
from app.store.redis_save import saved_keys, saved_values
from tests.store.changes import DAY, change_of, mark, row, used

LIFETIME = 5


def test_the_script_gets_new_pieces_before_obsolete_ones() -> None:
    first = change_of(None, [b"stays", b"old"])
    second = change_of(first.head, [b"stays", b"new"])
    names = [piece.name for piece in (*second.head.pieces, first.head.pieces[1])]
    own = [f"optim:{{session-1}}:{key}" for key in ("head", "history", "keys", "created", "marks", "thinned")]
    assert saved_keys(second) == own + [f"optim:{{session-1}}:piece:{name}" for name in names]
    assert saved_values(second, 10, KeyMemory())[4] == 2


def test_a_row_is_stored_with_step_and_version() -> None:
    values = saved_values(change_of(None, row=row(7)), 10, KeyMemory())
    assert values[7:10] == (7, b"0000000000000007" + b"0000000000000001" + b"row 7", 10)
    assert saved_values(change_of(None), 10, KeyMemory())[7:9] == ("", "")


def test_a_mark_is_stored_with_its_version_and_kind() -> None:
    values = saved_values(change_of(None, mark=mark("{}", "undo")), 10, KeyMemory())
    assert values[22:24] == (1, b"0000000000000001undo {}")
    assert saved_values(change_of(None), 10, KeyMemory())[22:24] == ("", "")


def test_keys_come_last_in_pairs() -> None:
    keys = used("a"), used("b")
    assert saved_values(change_of(None, used=keys), 10, KeyMemory())[24:] == (*keys[0], *keys[1])


@pytest.mark.parametrize(("before", "after", "lifetime"), [(None, None, "-"), (DAY, None, "")])
def test_a_session_without_expiry_has_no_lifetime(before: float | None, after: None, lifetime: str) -> None:
    previous = replace(change_of(None).head, expires_at=None if before is None else time.time() + before)
    assert saved_values(change_of(None), 10, KeyMemory())[LIFETIME] == ""
    assert saved_values(change_of(previous, expires_at=after), 10, KeyMemory())[LIFETIME] == lifetime


@pytest.mark.parametrize("seconds", [60.0, -60.0])
def test_a_lifetime_is_in_milliseconds_from_now(seconds: float) -> None:
    lifetime = saved_values(change_of(None, expires_at=time.time() + seconds), 10, KeyMemory())[LIFETIME]
    assert isinstance(lifetime, int)
    assert abs(lifetime - seconds * 1000) < 5000
