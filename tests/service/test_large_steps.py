"""Large steps, whose pieces leave for the store while they are computed."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app import step_change
from app.errors import IdempotencyMismatch, StepConflict
from app.once import Once
from app.settings import Settings
from app.step import StepAnswer
from app.stepping import LARGE
from app.store import open_store
from app.store.base import Save, Saving
from optim_engine import Config, NonFinite
from tests.service.processes import CREATION, Process, request
from tests.store.places import Place, place_at


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


@pytest.mark.parametrize("key", [None, "key"])
async def test_a_large_body_is_known_by_its_digest(place: Place, key: str | None) -> None:
    process = Process(place.store)
    known = await _stepped(process)
    one, other = (memoryview(np.full(LARGE, byte, np.uint8)) for byte in (1, 2))

    async def sent(body: memoryview) -> StepAnswer:
        once = Once("POST …/steps", key=key).with_body_of_step(body)
        return await process.stepping.step("tenant", known, replace(request(3, size=SIZE), once=once))

    assert not (await sent(one)).replayed
    assert (await sent(one)).replayed
    with pytest.raises(StepConflict if key is None else IdempotencyMismatch):
        await sent(other)


async def test_a_large_step_that_is_refused_leaves_nothing(place: Place) -> None:
    process = Process(place.store)
    known = await _stepped(process)
    before = await place.pieces(known)
    with pytest.raises(NonFinite):
        await process.stepping.step("tenant", known, request(3, np.nan, size=SIZE))
    await _holds_only_its_own(place, known)
    assert await place.pieces(known) == before


async def test_a_large_step_that_fails_late_leaves_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(place.store)
    known = await _stepped(process)
    reader = await process.records.load("tenant", known)  # so no step writes over the only copy that `memory:` has
    before = await place.pieces(known)
    step, computed, let_go = step_change.step, asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def failing(*args: Any, **named: Any) -> Any:
        step(*args, **named)
        raise MemoryError

    monkeypatch.setattr(step_change, "step", failing)
    with pytest.raises(MemoryError):
        await process.stepping.step("tenant", known, request(3, size=SIZE))
    await _holds_only_its_own(place, known)

    def slow(*args: Any, **named: Any) -> Any:
        loop.call_soon_threadsafe(computed.set)
        let_go.wait()  # it is still at work when the request is cancelled
        return step(*args, **named)

    monkeypatch.setattr(step_change, "step", slow)
    task = asyncio.create_task(process.stepping.step("tenant", known, request(3, size=SIZE)))
    await computed.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    let_go.set()
    await _holds_only_its_own(place, known)
    assert await place.pieces(known) == before
    assert reader.session.step == 2
    monkeypatch.undo()
    assert (await process.stepping.step("tenant", known, request(3, size=SIZE))).kept.step == 3


async def test_a_large_step_cancelled_during_its_save_is_saved_whole(
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

    monkeypatch.setattr(process.records.quota, "room", room)
    task = asyncio.create_task(process.stepping.step("tenant", known, request(3, size=SIZE)))
    with pytest.raises(asyncio.CancelledError):
        await task
    await left.wait()
    assert seen == ["saved", "left"]
    await _holds_only_its_own(place, known)
    assert (await Process(place.store).records.load("tenant", known)).session.step == 3
