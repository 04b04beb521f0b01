"""The memory store: it keeps views of the caller's memory, of one state at most."""

from dataclasses import replace

from app.store.memory import MemoryStore
from tests.store.changes import change_of, saved


async def test_memory_keeps_views_of_the_newest_state_alone() -> None:
    store = MemoryStore(10)
    first = await saved(store, None, [b"stays", b"old"])
    change = change_of(first, [b"stays", b"new"])
    memory = bytearray(b"staysnew")
    await store.save(replace(change, state=memoryview(memory)))
    assert change.head.pieces[0] == first.pieces[0]
    kept = store._states["session-1"].by_name
    assert {name: bytes(view) for name, view in kept.items()} == {
        first.pieces[0].name: b"stays",
        change.head.pieces[1].name: b"new",
    }
    assert all(view.obj is memory for view in kept.values())


async def test_a_change_of_settings_keeps_the_views_that_are_there() -> None:
    store = MemoryStore(10)
    first = await saved(store)
    before = dict(store._states["session-1"].by_name)
    change = change_of(first)
    await store.save(replace(change, state=None))
    assert store._states["session-1"].by_name == before


async def test_memory_says_that_nothing_outlives_it() -> None:
    assert await MemoryStore(10).durability() == "nothing outlives this process"
