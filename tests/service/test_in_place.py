"""Steps in place: over the old state where nobody else reads it; whoever does sees it whole to the end."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app import step_change
from app.errors import StepConflict, StoreUnavailable
from app.session import Loaded
from app.step import StepAnswer, StepRequest
from app.stepping import LARGE
from app.store.base import Save
from app.wire.codecs import SAFETENSORS
from app.wire.state_file import write_state
from optim_engine import Config, NonFinite, TensorMismatch
from optim_engine.buffers import is_sole
from optim_engine.fields import LARGEST_INTEGER
from tests.service.processes import CREATION, Process, request
from tests.store.places import Place, place_at

HELD = Config.parse("adamw", hold_params=True)
SIZE = LARGE // 8
"""Elements: a step of theirs is large."""


@pytest.fixture
async def place(store_url: str) -> AsyncIterator[Place]:
    place = place_at(store_url)
    async with place.store:
        yield place


def held(step: int, value: float | None = None) -> StepRequest:
    """Return the request of a step, which brings parameters once."""
    asked = request(step, step / 3 if value is None else value, size=SIZE)
    return asked if step == 1 else replace(asked, params={})


async def stepped(process: Process, steps: int = 2) -> str:
    _, session, _ = await process.sessions.create("tenant", HELD, CREATION)
    for step in range(1, steps + 1):
        await process.stepping.step("tenant", session.id, held(step))
    return session.id


async def expected(step: int) -> bytes:
    """Return the state after so many steps."""
    process = Process(place_at("memory:").store)
    return (await process.records.load("tenant", await stepped(process, step))).state.memory.tobytes()


async def state_of(process: Process, known: str) -> bytes:
    return (await process.records.load("tenant", known)).state.memory.tobytes()


def place_of(process: Process, known: str) -> int:
    """Return the address of the state in the cache."""
    seen = process.records.seen("tenant", known)
    assert seen is not None
    return int(seen.state.memory.ctypes.data)


async def unwatched(process: Process, known: str) -> None:
    """Wait until the threads of the service and of the store have let go of the last step."""
    await process.compute.run_apart(lambda: None)
    memory = process.records.cache._entries[known][0].state.memory
    for _ in range(1000):
        if process.records.store.keeps_views or is_sole(memory):
            return
        await asyncio.sleep(0.001)


async def test_a_large_step_that_nobody_watches_is_in_place(place: Place) -> None:
    process = Process(place.store)
    known = await stepped(process)
    before = place_of(process, known)
    for step in (3, 4, 5):
        await unwatched(process, known)
        answer = await process.stepping.step("tenant", known, held(step))
        assert place_of(process, known) == before
        assert answer.kept.step == step
        del answer  # its arrays are views of the state
    assert await state_of(process, known) == await expected(5)
    assert await state_of(Process(place.store), known) == await expected(5)


READERS: dict[str, Callable[[Loaded, StepAnswer], Any]] = {
    "a loaded session": lambda loaded, answer: loaded,
    "its state": lambda loaded, answer: loaded.state,
    "its memory": lambda loaded, answer: loaded.state.memory,
    "its parameters": lambda loaded, answer: loaded.state.held(),
    "parameters on their way": lambda loaded, answer: SAFETENSORS.write_params(loaded.state.held()),
    "a state file on its way": lambda loaded, answer: write_state(loaded.session, loaded.state),
    "pieces on their way": lambda loaded, answer: Save(loaded.head, None, loaded.state.memory.data).parts,
    "the answer of the step before": lambda loaded, answer: answer,
    "that answer on its way": lambda loaded, answer: SAFETENSORS.write_answer(answer, {}),
}


def content(found: Any) -> bytes:
    """Return the bytes of the state that a reader holds."""
    match found:
        case Loaded():
            return found.state.memory.tobytes()
        case StepAnswer():
            return content(dict(found.params))
        case dict():
            return b"".join(array.tobytes() for array in found.values())
        case list():
            return b"".join(bytes(part[1] if isinstance(part, tuple) else part) for part in found)
        case np.ndarray():
            return found.tobytes()
        case _:
            return bytes(found.memory.tobytes())


@pytest.mark.parametrize("reader", READERS)
async def test_a_reader_of_a_state_sees_it_whole(place: Place, reader: str) -> None:
    process = Process(place.store)
    known = await stepped(process)
    answer = await process.stepping.step("tenant", known, held(3))
    found = READERS[reader](await process.records.load("tenant", known), answer)
    del answer
    before, address = content(found), place_of(process, known)
    for step in (4, 5):
        await process.stepping.step("tenant", known, held(step))
        assert content(found) == before
    assert place_of(process, known) != address
    assert await state_of(process, known) == await expected(5)


async def test_arrays_that_may_change_spare_the_only_copy(place: Place) -> None:
    """A client may make a NaN of a gradient in shared memory after the look at all of them."""
    process = Process(place.store)
    known = await stepped(process)
    before = place_of(process, known)
    await unwatched(process, known)
    await process.stepping.step("tenant", known, replace(held(3), may_change=True))
    assert (place_of(process, known) == before) is not place.store.keeps_views


async def test_a_step_is_in_place_again_once_readers_are_gone(place: Place) -> None:
    process = Process(place.store)
    known = await stepped(process)
    reader = await process.records.load("tenant", known)
    await process.stepping.step("tenant", known, held(3))
    address = place_of(process, known)
    del reader
    await unwatched(process, known)
    await process.stepping.step("tenant", known, held(4))
    assert place_of(process, known) == address


@pytest.mark.parametrize("bad", [held(3, np.nan), replace(held(3), grads={"w": np.ones((2, SIZE), np.float32)})])
async def test_a_refused_step_changes_nothing_in_place(place: Place, bad: StepRequest) -> None:
    process = Process(place.store)
    known = await stepped(process)
    for _ in range(2):
        with pytest.raises((NonFinite, TensorMismatch)):
            await process.stepping.step("tenant", known, bad)
    assert await state_of(process, known) == await expected(2)
    await process.stepping.step("tenant", known, held(3))
    assert await state_of(process, known) == await expected(3)


async def test_a_step_beyond_the_last_number_changes_nothing(place: Place) -> None:
    process = Process(place.store)
    known = await stepped(process)

    state = replace((await process.records.load("tenant", known)).state, t=LARGEST_INTEGER)
    await process.sessions.restore("tenant", known, state, lambda session: session, CREATION)
    del state
    with pytest.raises(StepConflict):
        await process.stepping.step("tenant", known, replace(held(3), step=None))
    assert await state_of(process, known) == await expected(2)


class Lost(Exception):
    """An error between the first write and the save."""


async def test_a_state_is_read_anew_after_a_failed_save(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    if place.store.keeps_views:
        return
    process = Process(place.store)
    known = await stepped(process)

    async def failing(*_: Any) -> None:
        raise error

    for error in (StoreUnavailable("no"), Lost()):
        await unwatched(process, known)
        with monkeypatch.context() as patch:
            patch.setattr(process.records, "save", failing)
            with pytest.raises(type(error)):
                await process.stepping.step("tenant", known, held(3))
        assert process.records.seen("tenant", known) is None
        assert await state_of(process, known) == await expected(2)
    await process.stepping.step("tenant", known, held(3))
    assert await state_of(process, known) == await expected(3)


async def test_a_save_that_was_made_and_not_acknowledged_is_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    process = Process(place.store)
    known = await stepped(process)
    save = process.records.save

    async def unheard(*arguments: Any) -> None:
        await save(*arguments)
        process.records.cache.drop(known)
        raise StoreUnavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(process.records, "save", unheard)
        with pytest.raises(StoreUnavailable):
            await process.stepping.step("tenant", known, held(3))
    assert await state_of(process, known) == await expected(3)
    assert (await process.stepping.step("tenant", known, held(3))).replayed


async def test_the_slower_of_two_processes_reads_anew(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Process(place.store), Process(place.store)
    known = await stepped(one)
    await other.records.load("tenant", known)
    step, computed, let_go = step_change.step, asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(*args: Any, **named: Any) -> Any:
        change = step(*args, **named)
        loop.call_soon_threadsafe(computed.set)
        let_go.wait(10)
        return change

    with monkeypatch.context() as patch:
        patch.setattr(step_change, "step", slow)
        behind = asyncio.create_task(one.stepping.step("tenant", known, replace(held(3), step=None)))
        await computed.wait()
    await other.stepping.step("tenant", known, held(3))
    let_go.set()
    assert (await behind).kept.step == 4
    process = Process(place_at("memory:").store)
    alone = await stepped(process, 3)
    await process.stepping.step("tenant", alone, replace(held(3), step=None))
    for each in (one, other, Process(place.store)):
        assert await state_of(each, known) == await state_of(process, alone)


async def test_a_cancelled_step_in_place_leaves_a_whole_state(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store with copies has the old one; `memory:` has no other, so the step is taken all the same."""
    process = Process(place.store)
    known = await stepped(process)
    await unwatched(process, known)
    step, begun, let_go = step_change.step, asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def slow(*args: Any, **named: Any) -> Any:
        loop.call_soon_threadsafe(begun.set)
        let_go.wait(10)
        return step(*args, **named)

    with monkeypatch.context() as patch:
        patch.setattr(step_change, "step", slow)
        task = asyncio.create_task(process.stepping.step("tenant", known, held(3)))
        await begun.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    reader = asyncio.create_task(state_of(process, known))
    settings = asyncio.create_task(process.sessions.update("tenant", known, lambda session: session, CREATION))
    await asyncio.wait([reader], timeout=0.03 if place.store.keeps_views else 5)
    assert reader.done() or place.store.keeps_views
    let_go.set()
    await settings
    assert await reader == await expected(3 if place.store.keeps_views else 2)
    await process.stepping.step("tenant", known, held(3))
    assert await state_of(process, known) == await expected(3)
    assert await state_of(Process(place.store), known) == await expected(3)
