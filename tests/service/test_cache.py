"""Small steps are made from what this process has, and no answer ever comes from what is behind."""

import asyncio
import gc
import threading
import tracemalloc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app import changes
from app.cache import DROPPED_AT_ONCE, PLANNED_COST, StateCache
from app.compute import Compute
from app.errors import SessionNotFound, StepConflict
from app.once import Once
from app.quota import Quota
from app.records import Records
from app.room import Room
from app.session import Loaded
from app.sessions import Sessions
from app.settings import Settings
from app.step import StepRequest
from app.stepping import LARGE, Stepping
from app.store import open_store
from app.store.base import Head, Save, Saving, Store
from app.store.memory import MemoryStore
from app.turns import Turns
from optim_engine import Config, NonFinite
from tests.store.places import Place, place_at


class Counting(MemoryStore):
    """Counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__(100)
        self.loads = self.reads = self.saves = 0

    async def load(self, known: str) -> Head | None:
        self.loads += 1
        return await super().load(known)

    async def read(self, head: Head, into: memoryview) -> None:
        self.reads += 1
        await super().read(head, into)

    async def save(self, save: Save) -> None:
        self.saves += 1
        await super().save(save)

    def counted(self) -> tuple[int, int, int]:
        """Loads, reads and saves since the last call."""
        counted = self.loads, self.reads, self.saves
        self.loads = self.reads = self.saves = 0
        return counted


class Process:
    """A process of the service, as far as a store can tell one from another."""

    def __init__(self, store: Store, cache: StateCache | None = None) -> None:
        self.compute = Compute(1)
        self.records = Records(store, self.compute, cache or StateCache(1 << 30), Quota(store))
        turns = Turns()
        self.sessions = Sessions(self.records, turns, self.compute, ROOM)
        self.stepping = Stepping(self.records, turns, self.compute, ROOM)


def request(step: int | None, value: float = 1.0, *, size: int = 2) -> StepRequest:
    grads, params = {"w": np.full(size, value, np.float32)}, {"w": np.ones(size, np.float32)}
    return StepRequest(grads, Once("POST …/steps", f"{step} {value} {size}"), params, step)


ROOM = Room(10_000, 1 << 40, 1 << 40)
CREATION = Once("POST /v1/sessions")
SKIPS = Config.parse("adamw", on_non_finite="skip")


@pytest.fixture
def store() -> Counting:
    return Counting()


@pytest.fixture
def one(store: Counting) -> Process:
    return Process(store)


@pytest.fixture
def other(store: Counting) -> Process:
    """Another process's, as far as the store can tell."""
    return Process(store)


@pytest.fixture
async def known(one: Process) -> str:
    """A session that `one` has stepped twice."""
    _, session, _ = await one.sessions.create("tenant", Config.parse("adamw"), CREATION)
    for step in (1, 2):
        await one.stepping.step("tenant", session.id, request(step))
    return session.id


async def test_a_small_step_reads_nothing_and_saves_once(store: Counting, one: Process, known: str) -> None:
    store.counted()
    for step in (3, 4, None):
        await one.stepping.step("tenant", known, request(step))
    assert store.counted() == (0, 0, 3)


async def test_a_large_step_looks_at_the_head_before_it_is_computed(store: Counting, one: Process, known: str) -> None:
    store.counted()
    large = {"large": np.ones(LARGE // 4, np.float32)}
    await one.stepping.step("tenant", known, replace(request(3), grads=large, params=large))
    assert store.counted() == (1, 0, 1)


@pytest.mark.parametrize("numbered", [True, False])
async def test_of_two_that_take_turns_each_looks_once_and_steps_as_one_alone(
    store: Counting, one: Process, other: Process, known: str, numbered: bool
) -> None:
    alone = Process(MemoryStore(10))
    _, session, _ = await alone.sessions.create("tenant", Config.parse("adamw"), CREATION)
    for step in (1, 2):
        await alone.stepping.step("tenant", session.id, request(step))
    await other.records.load("tenant", known)
    for step in range(3, 11):
        number, near = step if numbered else None, (one, other)[step % 2]
        store.counted()
        answer = await near.stepping.step("tenant", known, request(number, step / 7))
        if step > 3:  # its number tells that it is behind; without one, the save does
            assert store.counted() == (1, 1, 1 if numbered else 2)
        expected = await alone.stepping.step("tenant", session.id, request(number, step / 7))
        assert answer.kept.digest == expected.kept.digest
        assert np.array_equal(answer.params["w"], expected.params["w"])


async def test_a_session_that_another_deleted_is_not_found(one: Process, other: Process, known: str) -> None:
    await other.sessions.delete("tenant", known, Once("DELETE …"))
    for _ in range(2):
        with pytest.raises(SessionNotFound):
            await one.stepping.step("tenant", known, request(3))


async def test_anothers_session_is_not_found_though_it_is_here(one: Process, known: str) -> None:
    with pytest.raises(SessionNotFound):
        await one.stepping.step("stranger", known, request(3))


async def test_a_session_that_has_expired_here_is_not_found(one: Process, known: str) -> None:
    await one.sessions.update("tenant", known, lambda old: replace(old, ttl_seconds=-1.0), Once("PATCH …"))
    with pytest.raises(SessionNotFound):
        await one.stepping.step("tenant", known, request(3))


async def test_settings_that_another_changed_are_used(one: Process, other: Process, known: str) -> None:
    await other.sessions.update(
        "tenant",
        known,
        lambda old: replace(old, config=Config.parse("adamw", hyperparameters={"lr": 0.5})),
        Once("PATCH …"),
    )
    answer = await one.stepping.step("tenant", known, request(3))
    assert answer.kept.metrics["lr"] == 0.5


async def test_a_gradient_that_is_refused_here_may_be_skipped_by_now(one: Process, other: Process, known: str) -> None:
    with pytest.raises(NonFinite):
        await one.stepping.step("tenant", known, request(3, np.nan))
    await other.sessions.update("tenant", known, lambda old: replace(old, config=SKIPS), Once("PATCH …"))
    assert (await one.stepping.step("tenant", known, request(3, np.nan))).skipped


async def test_a_skipped_step_is_saved_from_what_is_here(store: Counting, one: Process, known: str) -> None:
    await one.sessions.update("tenant", known, lambda old: replace(old, config=SKIPS), Once("PATCH …"))
    store.counted()
    assert (await one.stepping.step("tenant", known, request(3, np.nan))).skipped
    assert store.counted() == (0, 0, 1)
    assert (await one.stepping.step("tenant", known, request(3, np.nan))).replayed


async def test_a_replay_is_decided_by_the_store(one: Process, other: Process, known: str) -> None:
    assert (await one.stepping.step("tenant", known, request(2))).replayed
    await other.stepping.step("tenant", known, request(3))
    with pytest.raises(StepConflict, match="the session is at step 3"):
        await one.stepping.step("tenant", known, request(2))


async def test_a_step_that_another_took_is_answered_as_a_replay(one: Process, other: Process, known: str) -> None:
    taken = await other.stepping.step("tenant", known, request(3))
    again = await one.stepping.step("tenant", known, request(3))
    assert again.replayed
    assert np.array_equal(again.params["w"], taken.params["w"])


async def test_a_number_that_is_behind_here_may_be_the_next_elsewhere(one: Process, other: Process, known: str) -> None:
    """The store went back to an older copy: what is here is ahead."""
    old = await other.records.load("tenant", known)
    for step in (3, 4):
        await one.stepping.step("tenant", known, request(step))
    with pytest.raises(StepConflict):
        await one.stepping.step("tenant", known, request(3, 2.0))
    await other.sessions.restore("tenant", known, old.state, lambda session: session, Once("PUT …/state"))
    assert (await one.stepping.step("tenant", known, request(3, 2.0))).kept.step == 3


# Large steps, whose pieces leave early


@pytest.fixture
async def place(store_url: str) -> AsyncIterator[Place]:
    place = place_at(store_url)
    async with place.store:
        yield place


SIZE = LARGE // 4
"""Elements: a step of theirs is large."""


async def _stepped(process: Process, steps: int = 2) -> str:
    _, session, _ = await process.sessions.create("tenant", Config.parse("adamw"), CREATION)
    for step in range(1, steps + 1):
        await process.stepping.step("tenant", session.id, request(step, step / 3, size=SIZE))
    return session.id


async def _holds_only_its_own(place: Place, known: str) -> None:
    await place.store.delete("nobody")
    head = await place.store.load(known)
    assert head
    assert set(await place.pieces(known)) == {piece.name for piece in head.pieces}


async def test_large_steps_are_saved_as_they_are_read_back(place: Place) -> None:
    known = await _stepped(Process(place.store), 3)
    await _holds_only_its_own(place, known)
    read = await Process(place.store).records.load("tenant", known)
    async with open_store(Settings(store="memory:")) as memory:
        alone = Process(memory)
        expected = await alone.records.load("tenant", await _stepped(alone, 3))
    assert read.session.digest == expected.session.digest
    assert np.array_equal(read.state.memory, expected.state.memory)


async def test_a_large_step_that_is_refused_leaves_nothing(place: Place) -> None:
    process = Process(place.store)
    known = await _stepped(process)
    before = await place.pieces(known)
    with pytest.raises(NonFinite):
        await process.stepping.step("tenant", known, request(3, np.nan, size=SIZE))
    await _holds_only_its_own(place, known)
    assert await place.pieces(known) == before


async def test_a_large_step_that_fails_or_is_cancelled_late_leaves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(place.store)
    known = await _stepped(process)
    before = await place.pieces(known)
    step, computed, let_go = changes.step, asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def failing(*args: Any) -> Any:
        step(*args)
        raise MemoryError

    monkeypatch.setattr(changes, "step", failing)
    with pytest.raises(MemoryError):
        await process.stepping.step("tenant", known, request(3, size=SIZE))
    await _holds_only_its_own(place, known)

    def slow(*args: Any) -> Any:
        loop.call_soon_threadsafe(computed.set)
        let_go.wait()  # it is still at work when the request is cancelled
        return step(*args)

    monkeypatch.setattr(changes, "step", slow)
    task = asyncio.create_task(process.stepping.step("tenant", known, request(3, size=SIZE)))
    await computed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    let_go.set()
    await _holds_only_its_own(place, known)
    assert await place.pieces(known) == before
    monkeypatch.undo()
    assert (await process.stepping.step("tenant", known, request(3, size=SIZE))).kept.step == 3


async def test_a_large_step_cancelled_while_it_is_saved_is_saved_whole(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(place.store)
    known, left, lend, seen = await _stepped(process), asyncio.Event(), place.store.saving, list[str]()

    def lend_and_watch(*args: Any) -> Saving:
        saving = lend(*args)
        discard = saving.discard

        async def watched() -> None:
            seen.append("left")
            await discard()
            left.set()

        monkeypatch.setattr(saving, "discard", watched)
        return saving

    @asynccontextmanager
    async def room(_: Save) -> AsyncIterator[None]:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        yield
        seen.append("saved")

    monkeypatch.setattr(place.store, "saving", lend_and_watch)

    monkeypatch.setattr(process.records._quota, "room", room)
    task = asyncio.create_task(process.stepping.step("tenant", known, request(3, size=SIZE)))
    with pytest.raises(asyncio.CancelledError):
        await task
    await left.wait()
    assert seen == ["saved", "left"]
    await _holds_only_its_own(place, known)
    assert (await Process(place.store).records.load("tenant", known)).session.step == 3


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


async def test_what_is_planned_for_a_session_is_counted_and_goes_with_it() -> None:
    cache, process = cached()
    await stepped_by_parts(process, 120, 1)
    once = cache.nbytes
    cache, process = cached()
    known = await stepped_by_parts(process, 120, 4)
    assert cache.nbytes > once + (3 * 90 - 120) * PLANNED_COST
    await process.sessions.delete("tenant", known, CREATION)
    assert cache.nbytes == 0


@pytest.mark.parametrize(("tensors", "parts"), [(2000, 1), (2000, 9), (1, 1), (100, 3)])
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


async def test_a_large_session_drops_many_small_ones_a_few_at_a_time() -> None:
    cache, process = cached()
    known = cache.newest(await stepped_by_parts(process, 1, 1))
    assert known is not None
    small = [f"{i:032x}" for i in range(3 * DROPPED_AT_ONCE)]
    for session_id in small:
        cache.put(Loaded(replace(known.head, session_id=session_id), known.session, known.state))
    cache._limit = cache.nbytes // len(small)
    cache.put(known)  # which leaves no room for another
    assert len(cache._entries) == 2 * DROPPED_AT_ONCE + 1
    for _ in range(3):
        await asyncio.sleep(0)
    assert [*cache._entries] == [known.head.session_id]
