"""Small steps are made from what this process has, and no answer ever comes from what is behind."""

import asyncio
import gc
import tracemalloc
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.cache import DROPPED_AT_ONCE, PLANNED_COST, StateCache
from app.once import Once
from app.session import Loaded
from app.settings import Settings
from app.step import StepRequest
from app.store import open_store
from app.store.base import Store
from app.store.memory import MemoryStore
from optim_engine import Config
from tests.service.processes import CREATION, Process, request


async def test_what_has_expired_leaves_the_memory_too() -> None:
    cache, store = StateCache(1 << 30), MemoryStore(10)
    process = Process(store, cache)
    _, stays, _ = await process.sessions.create("tenant", Config.parse("adamw"), CREATION)
    await process.stepping.step("tenant", stays.id, request(1))
    _, goes, _ = await process.sessions.create("tenant", Config.parse("adamw"), CREATION, ttl_seconds=60)
    await process.stepping.step("tenant", goes.id, request(1))
    await process.sessions.update(
        "tenant", goes.id, lambda session: replace(session, ttl_seconds=1e-6), Once("PATCH …")
    )
    assert await store.load(goes.id) is None
    assert await process.records.sweep() == 1
    assert (cache.newest(goes.id), cache.newest(stays.id) is None) == (None, False)


def cached(store: Store | None = None) -> tuple[StateCache, Process]:
    cache, store = StateCache(1 << 30), store or MemoryStore(10)
    return cache, Process(store, cache)


def of_names(names: list[str], step: int) -> StepRequest:
    tensors = {name: np.ones((), np.float32) for name in names}
    return StepRequest(tensors, Once("POST …/steps", f"{step} {names}"), tensors, step)


async def stepped_by_parts(process: Process, tensors: int, parts: int) -> str:
    """A session of scalars, of which each step leaves some others out."""
    _, session, _ = await process.sessions.create("tenant", Config.parse("adam"), CREATION)
    for part in range(parts):
        names = [f"layer.{i}.w" for i in range(tensors) if parts == 1 or i % parts != part]
        await process.stepping.step("tenant", session.id, of_names(names, part + 1))
    return session.id


async def test_plans_of_a_session_are_counted_and_dropped() -> None:
    cache, process = cached()
    await stepped_by_parts(process, 120, 1)
    once = cache.nbytes
    cache, process = cached()
    known = await stepped_by_parts(process, 120, 4)
    assert cache.nbytes > once + (3 * 90 - 120) * PLANNED_COST
    await process.sessions.delete("tenant", known, CREATION)
    assert cache.nbytes == 0


@pytest.mark.parametrize(("tensors", "parts"), [(2000, 1), (2000, 9), (1, 1), (100, 3)])
@pytest.mark.long
async def test_a_session_takes_no_more_memory_than_is_counted(tmp_path: Path, tensors: int, parts: int) -> None:
    async with open_store(Settings(store=f"lmdb:{tmp_path}", lmdb_sync="relaxed")) as store:
        cache, process = cached(store)
        await stepped_by_parts(process, tensors, parts)
        gc.collect()
        tracemalloc.start()
        counted = -cache.nbytes
        for _ in range(max(1, 40 // (tensors * parts))):
            await stepped_by_parts(process, tensors, parts)
        gc.collect()
        counted += cache.nbytes
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert used < 1.3 * counted


async def test_nothing_of_a_session_outlives_it_in_the_process() -> None:
    cache, process = cached()
    patterns = ["x" * 1000 + str(i) for i in range(256)]
    gc.disable()
    try:
        config = Config.parse("adam", groups=[{"match": patterns, "lr": 1}])
        _, session, _ = await process.sessions.create("tenant", config, CREATION)
        await process.stepping.step("tenant", session.id, of_names(["a", "b"], 1))
        await process.stepping.step("tenant", session.id, of_names(["a"], 2))
        await process.stepping.step("tenant", session.id, of_names(["a", "b"], 3))
        loaded = cache.newest(session.id)
        assert loaded is not None
        layout, settings = weakref.ref(loaded.state.layout), weakref.ref(config)
        await process.sessions.delete("tenant", session.id, CREATION)
        del config, session, loaded
        await process.compute.run_apart(lambda: None)  # until then its thread may have the last step at hand
        assert (layout(), settings()) == (None, None)
    finally:
        gc.enable()


async def test_a_large_session_drops_small_ones_in_batches() -> None:
    cache, process = cached()
    known = cache.newest(await stepped_by_parts(process, 1, 1))
    assert known is not None
    cache.drop(known.head.session_id)  # with the length of its document, which `known` no longer has
    small = [f"{i:032x}" for i in range(3 * DROPPED_AT_ONCE)]
    for session_id in small:
        cache.put(Loaded(replace(known.head, session_id=session_id), known.session, known.state))
    cache.limit = cache.nbytes // len(small)
    cache.put(known)  # which leaves no room for another
    assert len(cache._entries) == 2 * DROPPED_AT_ONCE + 1
    for _ in range(3):
        await asyncio.sleep(0)
    assert [*cache._entries] == [known.head.session_id]


async def test_a_document_like_the_one_before_is_not_written() -> None:
    cache, process = cached()
    known = cache.newest(await stepped_by_parts(process, 1, 1))
    assert known is not None
    written = []

    def document() -> bytes:
        written.append(1)
        return b"a long document"

    head, cost = replace(known.head, document=document), cache.nbytes
    cache.put(replace(known, head=head))
    assert (written, cache.nbytes) == ([], cost)
    cache.put(replace(known, head=head, session=replace(known.session, notes={"kind": "a new warning"})))
    assert written == [1]
