"""The views of the memory store: none is held while a step writes over the state, and readers wait for its end."""

import asyncio
from dataclasses import replace

import pytest

from app.store.memory import MemoryStore
from app.store.stamp import VersionConflict
from tests.store.changes import change_of, saved


async def test_no_view_is_held_while_a_state_is_written_over() -> None:
    store = MemoryStore(10)
    memory = bytearray(b"old")
    change = change_of(await saved(store), [bytes(memory)])
    await store.save(replace(change, state=memoryview(memory)))
    before = {name: bytes(view) for name, view in store._states["session-1"].by_name.items()}
    with store.written_over(change.head, memoryview(memory)):
        assert store._states["session-1"].by_name == {}
    assert {name: bytes(view) for name, view in store._states["session-1"].by_name.items()} == before


async def test_readers_and_changes_of_settings_wait_for_the_end() -> None:
    store = MemoryStore(10)
    head, memory = await saved(store, None, [b"old"]), bytearray(b"old")
    with store.written_over(head, memoryview(memory)):
        reading = asyncio.create_task(store.read(head, memoryview(bytearray(3))))
        setting = asyncio.create_task(store.save(replace(change_of(head), state=None)))
        for _ in range(5):
            await asyncio.sleep(0)
        assert not reading.done()
        assert not setting.done()
        await store.save(change_of(head, [b"new"]))
    for waiting in (reading, setting):
        with pytest.raises(VersionConflict):
            await waiting
    newest = await store.load("session-1")
    assert newest is not None
    into = bytearray(3)
    await store.read(newest, memoryview(into))
    assert into == b"new"


async def test_views_of_another_head_are_kept() -> None:
    store = MemoryStore(10)
    behind = await saved(store, None, [b"old"])
    await store.save(change_of(behind, [b"new"]))
    with store.written_over(behind, memoryview(b"old")):
        assert [bytes(view) for view in store._states["session-1"].by_name.values()] == [b"new"]
