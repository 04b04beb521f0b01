"""Small steps, taken from memory: no answer ever comes from an outdated session."""

from dataclasses import replace

import numpy as np
import pytest

from app.errors import SessionNotFound, StepConflict
from app.once import Once
from app.stepping import LARGE
from app.store.memory import MemoryStore
from optim_engine import Config, NonFinite
from tests.service.processes import CREATION, SKIPS, Counting, Process, request


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


async def test_a_large_step_reads_the_head_before_it_is_computed(store: Counting, one: Process, known: str) -> None:
    store.counted()
    large = {"large": np.ones(LARGE // 4, np.float32)}
    await one.stepping.step("tenant", known, replace(request(3), grads=large, params=large))
    assert store.counted() == (1, 0, 1)


async def test_a_small_step_of_a_large_state_reads_nothing(store: Counting, one: Process, known: str) -> None:
    large = {"large": np.ones(LARGE // 4, np.float32)}
    await one.stepping.step("tenant", known, replace(request(3), grads=large, params=large))
    store.counted()
    await one.stepping.step("tenant", known, request(4))
    assert store.counted() == (0, 0, 1)


async def test_a_large_state_elsewhere_is_looked_for_first(
    store: Counting, one: Process, known: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MemoryStore, "is_instant", False)
    await test_a_large_step_reads_the_head_before_it_is_computed(store, one, known)
    await one.stepping.step("tenant", known, request(4))
    assert store.counted() == (1, 0, 1)


@pytest.mark.parametrize("numbered", [True, False])
async def test_two_processes_in_turns_step_as_one_alone(
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


async def test_a_gradient_refused_here_may_be_skipped_elsewhere(one: Process, other: Process, known: str) -> None:
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


async def test_a_number_behind_here_may_be_next_elsewhere(one: Process, other: Process, known: str) -> None:
    """The store went back to an older copy: what is here is ahead."""
    old = await other.records.load("tenant", known)
    for step in (3, 4):
        await one.stepping.step("tenant", known, request(step))
    with pytest.raises(StepConflict):
        await one.stepping.step("tenant", known, request(3, 2.0))
    await other.sessions.restore("tenant", known, old.state, lambda session: session, Once("PUT …/state"))
    assert (await one.stepping.step("tenant", known, request(3, 2.0))).kept.step == 3
