"""The values of the interface: stamps and saves, without a store."""

from dataclasses import replace

import pytest

from app.store.base import Save, new_token
from app.store.stamp import Stamp, VersionConflict
from tests.store.changes import change_of


@pytest.fixture
def first() -> Save:
    return change_of(None, [b"stays", b"old"])


@pytest.fixture
def second(first: Save) -> Save:
    return change_of(first.head, [b"stays", b"new"])


def test_a_save_writes_its_fresh_pieces_and_drops_obsolete_ones(first: Save, second: Save) -> None:
    assert [bytes(data) for _, data in first.fresh] == [b"stays", b"old"]
    assert first.obsolete == []
    assert [bytes(data) for _, data in second.parts] == [b"stays", b"new"]
    assert [bytes(data) for _, data in second.fresh] == [b"new"]
    assert second.obsolete == [first.head.pieces[1]]


def test_a_save_without_a_state_has_no_parts(second: Save) -> None:
    assert replace(second, state=None).parts == []


def test_a_save_is_done_once_the_store_holds_its_token(first: Save, second: Save) -> None:
    assert first.is_done(None) is False
    assert first.is_done(first.head.stamp) is True
    assert second.is_done(first.head.stamp) is False
    assert second.is_done(second.head.stamp) is True


@pytest.mark.parametrize("held", [None, Stamp(1, "other"), Stamp(7, "other")])
def test_a_save_from_another_head_is_a_conflict(second: Save, held: Stamp | None) -> None:
    with pytest.raises(VersionConflict, match="session-1: the store holds"):
        second.is_done(held)


def test_heads_of_one_version_have_different_etags(first: Save) -> None:
    other = replace(first.head, token=new_token())
    assert other.version == first.head.version
    assert other.etag != first.head.etag
    assert first.head.etag == f'"1-{first.head.token}"'
