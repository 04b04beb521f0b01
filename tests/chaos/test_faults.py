"""Faults at every call to the store: the state is then the old or the new one, and a retry makes the change."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import httpx2
import pytest

from app.store import lmdb_staging
from tests.chaos.faulty_store import Fault, FaultyStore, faulty_store
from tests.chaos.trial import Trial
from tests.chaos.victim import is_killed
from tests.chaos.works import SMALL, Asked, Work, a_step, service_on, settled, state_of, works
from tests.store.places import PLACES, RedisPlace
from tests.stores import DURABLE, STORES

Hit: TypeAlias = Callable[
    [FaultyStore, httpx2.AsyncClient, str, Work, int], Awaitable[tuple[bool, httpx2.Response | None]]
]
"""A function that does a change with a fault at its n-th moment; it returns whether that came, and any answer."""

TOGETHER = 6
"""Concurrent changes: those that wait during a save share the next transaction of LMDB."""


@pytest.fixture(params=DURABLE)
async def store(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, redis_url: str, tmp_path: Path
) -> AsyncIterator[FaultyStore]:
    """Open each durable store in turn, with a place for a fault. A sweep removes leftovers at once."""
    monkeypatch.setattr(lmdb_staging, "STAGED_SECONDS", 0.0)
    async with faulty_store(STORES[request.param](tmp_path, lambda: redis_url)) as store:
        yield store


async def failed(
    store: FaultyStore, client: httpx2.AsyncClient, session: str, work: Work, at: int
) -> tuple[bool, httpx2.Response | None]:
    store.fault = fault = Fault(at, store.fail)
    answer = await work.asked.send(client, session)
    store.fault = None
    if fault.struck and not answer.is_success:
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable"), (fault.struck, answer.text)
        assert int(answer.headers["retry-after"]) > 0
    return fault.struck is not None, answer


async def cancelled(
    store: FaultyStore, client: httpx2.AsyncClient, session: str, work: Work, at: int
) -> tuple[bool, httpx2.Response | None]:
    loop, others = asyncio.get_running_loop(), asyncio.all_tasks()
    task = asyncio.create_task(work.asked.send(client, session))
    store.fault = fault = Fault(at, lambda: loop.call_soon_threadsafe(task.cancel))
    answer = None
    with suppress(asyncio.CancelledError):
        answer = await task
    await settled(others)
    store.fault = None
    return fault.struck is not None, answer


async def killed(
    store: FaultyStore, client: httpx2.AsyncClient, session: str, work: Work, at: int
) -> tuple[bool, httpx2.Response | None]:
    return await is_killed(store.url, session, work.asked, at), None


@dataclass(frozen=True)
class Expected:
    """The outcome of a change without faults: the states before and after, its answer, and that of the next step."""

    old: str | None
    new: str | None
    answer: httpx2.Response
    next_number: int
    next_answer: bytes


async def expected(client: httpx2.AsyncClient, work: Work) -> Expected:
    session = await work.start(client)
    old = await state_of(client, session)
    answer = await work.asked.send(client, session)
    assert answer.is_success, answer.text
    new = await state_of(client, session)
    number = (await client.get(session)).json()["step"] + 1 if new else 0
    return Expected(old, new, answer, number, await next_answer(client, session, work, number))


async def next_answer(client: httpx2.AsyncClient, session: str, work: Work, number: int) -> bytes:
    """Take a step, which depends on the whole state; return its answer."""
    asked = a_step(number, work.size, held=work.held)
    asked = replace(asked, headers={**(asked.headers or {}), "idempotency-key": '"the next step"'})
    return (await asked.send(client, session)).content if number else b""


async def check(store: FaultyStore, client: httpx2.AsyncClient, session: str, work: Work, ought: Expected) -> str:
    """Check the state after a fault, a retry of the change and the next step; return the name of the state."""
    async with service_on(store) as fresh:
        found = await state_of(fresh, session)
    assert found in {ought.old, ought.new}
    again = await work.asked.send(client, session)
    if ought.new is None and found is None:
        assert again.status_code == 404
    else:
        assert again.status_code == ought.answer.status_code, again.text
        assert ("idempotent-replayed" in again.headers) == (found == ought.new)
        if work.asked.rest == "/steps":
            assert again.content == ought.answer.content
    async with service_on(store) as fresh:
        assert await state_of(fresh, session) == ought.new
    assert await next_answer(client, session, work, ought.next_number) == ought.next_answer
    await check_leftovers(store, session)
    await client.delete(session)
    return "new states" if found == ought.new else "old states"


async def check_leftovers(store: FaultyStore, session: str) -> None:
    """Assert that all pieces are named by head or ledger, or will expire."""
    session_id = session.rpartition("/")[2]
    await store.sweep()
    place = PLACES[store.url.partition(":")[0]](store.url, store)
    head, ledger = await store.load(session_id), await store.ledger(session_id)
    named = (*(head.kept if head else ()), *(ledger.pieces if ledger else ()))
    left = set(await place.pieces(session_id)) - {piece.name for piece in named}
    if isinstance(place, RedisPlace):
        left = {name for name in left if place.client.pttl(f"optim:{{{session_id}}}:piece:{name}") <= 0}
        place.client.close()
    assert not left


@pytest.mark.requirement("R8", "R2")
@pytest.mark.parametrize("hit", [failed, cancelled, killed])
async def test_a_fault_at_any_call_leaves_old_or_new_state(store: FaultyStore, hit: Hit, trial: Trial) -> None:
    async with service_on(store) as client:
        every = await works(client)
        for work in trial.random.sample(every, trial.times(quick=1, whole=len(every))):
            ought = await expected(client, work)
            for at in moments(trial, store):
                session = await work.start(client)
                struck, answer = await hit(store, client, session, work, at)
                if not struck:
                    break
                if answer is not None and answer.is_success:
                    assert await state_of(client, session) == ought.new
                trial.tried["faults"] += 1
                trial.tried[await check(store, client, session, work, ought)] += 1
            trial.tried["kinds of change"] += 1
    assert trial.tried["faults"]


@pytest.mark.requirement("R8", "R2")
async def test_a_fault_in_a_shared_save_corrupts_no_session(store: FaultyStore, trial: Trial) -> None:
    async with service_on(store) as client:
        [work] = [work for work in await works(client) if work.name == "a step"]
        ought = await expected(client, work)
        for at in moments(trial, store, 8):
            sessions = [await work.start(client) for _ in range(TOGETHER)]
            store.fault = fault = Fault(at, store.fail)
            answers = await asyncio.gather(*(work.asked.send(client, session) for session in sessions))
            store.fault = None
            if not fault.struck:
                break
            for session, answer in zip(sessions, answers, strict=True):
                assert answer.status_code in {200, 503}, answer.text
                trial.tried[f"answers {answer.status_code}"] += 1
                found = await check(store, client, session, work, ought)
                assert found == "new states" or answer.status_code == 503
            trial.tried["faults"] += 1
    assert trial.tried["faults"]


@pytest.mark.requirement("R8", "R2")
@pytest.mark.parametrize("hit", [failed, cancelled, killed])
async def test_a_fault_in_a_creation_leaves_one_session_per_key(store: FaultyStore, hit: Hit, trial: Trial) -> None:
    async with service_on(store) as client:
        for at in moments(trial, store):
            headers = {"content-type": "application/json", "idempotency-key": f'"creation {at}"'}
            work = Work("", Asked("POST", "", b'{"optimizer":"adamw"}', headers))
            struck, _ = await hit(store, client, "/v1/sessions", work, at)
            if not struck:
                break
            made = (await client.get("/v1/sessions")).json()["sessions"]
            again = await work.asked.send(client, "/v1/sessions")
            assert (again.status_code, "idempotent-replayed" in again.headers) == (201, bool(made)), again.text
            [session] = (await client.get("/v1/sessions")).json()["sessions"]
            assert session["id"] == again.json()["id"]
            assert made in ([], [session])
            trial.tried["faults"] += 1
            trial.tried["sessions made before" if made else "made by the next try"] += 1
            await client.delete(f"/v1/sessions/{session['id']}")
            assert (await work.asked.send(client, "/v1/sessions")).status_code == 404
    assert trial.tried["faults"]


@pytest.mark.requirement("R8")
@pytest.mark.parametrize("hit", [failed, cancelled, killed])
async def test_a_fault_in_a_creation_leaves_a_session_or_none(store: FaultyStore, hit: Hit, trial: Trial) -> None:
    work = Work("", Asked("POST", "", b'{"optimizer":"adamw"}', {"content-type": "application/json"}))
    async with service_on(store) as client:
        for at in moments(trial, store):
            struck, answer = await hit(store, client, "/v1/sessions", work, at)
            if not struck:
                break
            made = (await client.get("/v1/sessions")).json()["sessions"]
            assert len(made) == 1 if answer is not None and answer.is_success else len(made) <= 1
            trial.tried["faults"] += 1
            trial.tried["sessions made" if made else "none made"] += 1
            for session in made:
                assert await state_of(client, f"/v1/sessions/{session['id']}") == session["digest"]
                answer = await a_step(1, SMALL, held=False).send(client, f"/v1/sessions/{session['id']}")
                assert answer.status_code == 200
                await client.delete(f"/v1/sessions/{session['id']}")
            assert (await work.asked.send(client, "/v1/sessions")).status_code == 201
            [session] = (await client.get("/v1/sessions")).json()["sessions"]
            await client.delete(f"/v1/sessions/{session['id']}")
    assert trial.tried["faults"]


def moments(trial: Trial, store: FaultyStore, changes: int = 1) -> Iterator[int]:
    """Yield the numbers of the moments; in a quick run with a stride, which is smaller for Redis."""
    quick = (3 if store.url.startswith("redis") else 8) * changes
    stride = trial.times(quick=quick, whole=1)
    return itertools.count(trial.random.randint(1, stride), stride)
