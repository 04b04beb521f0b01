"""The keys that a session in memory has used."""

import pytest

from app.store.base import KeyUsed
from app.store.keys import KeyMemory, UsedKey
from app.store.memory_keys import UsedKeys
from tests.store.changes import change_of


def test_a_used_key_is_refused_before_any_change() -> None:
    keys = UsedKeys()
    keys.take(change_of(None, used=[UsedKey("a", b"1")]), KeyMemory())
    with pytest.raises(KeyUsed):
        keys.take(change_of(None, used=[UsedKey("b", b"2"), UsedKey("a", b"3")]), KeyMemory())
    assert (keys.row("a"), keys.row("b")) == (b"1", None)


def test_the_oldest_keys_go_beyond_the_limit() -> None:
    keys, memory = UsedKeys(), KeyMemory(count=0, seconds=9, most=2)
    for name in "abc":
        keys.take(change_of(None, used=[UsedKey(name, b"")]), memory)
    assert list(keys) == ["b", "c"]
