"""The heads of the memory store: as they were saved, then as bytes, and alike in both forms."""

import time
from dataclasses import replace

import pytest

from app.errors import StateDamaged
from app.store.base import Head
from app.store.envelope import decode
from app.store.memory_heads import Heads

HEAD = Head("a", "t", 3, "token", b"{}")


def test_a_head_is_written_when_somebody_reads_it() -> None:
    heads = Heads(a=HEAD)
    assert heads["a"] is HEAD
    written = heads.written("a")
    assert decode("a", written) == HEAD
    assert heads["a"] is written is heads.written("a")


@pytest.mark.parametrize(("seconds", "expired"), [(None, False), (-1, True), (99, False)])
def test_both_forms_have_one_stamp_and_one_expiry(seconds: float | None, expired: bool) -> None:
    heads = Heads(a=replace(HEAD, expires_at=None if seconds is None else time.time() + seconds))
    for _ in range(2):
        label = heads.label("a")
        assert label is not None
        assert (label.stamp, heads.has_expired("a")) == (HEAD.stamp, expired)
        heads.written("a")


def test_an_unknown_session_has_no_label() -> None:
    assert Heads().label("a") is None


def test_a_damaged_head_has_not_expired() -> None:
    heads = Heads(a=b"damaged")
    assert not heads.has_expired("a")
    with pytest.raises(StateDamaged):
        heads.label("a")
