"""Forks: a session in the same state, which steps on to the same bits; neither changes the other."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import urljoin

import httpx2
import numpy as np
import pytest
from httpx2 import Client

from app.errors import SessionBusy
from app.pieces import Pieces
from app.session import Session
from app.settings import Settings
from app.store import open_store
from app.store.memory import MemoryStore
from optim_engine import Config
from tests.bodies import encode
from tests.service.calls import (
    SAFETENSORS,
    W,
    binary_step,
    bits,
    create,
    patched,
    problem,
    read_binary,
    serving,
    step,
    stepped,
)
from tests.service.processes import CREATION, Process, request
from tests.service.state_files import SETTINGS, some_params, train

OWN = {"id", "created_at", "updated_at", "expires_at"}
"""The members that a fork has of its own."""


@pytest.fixture
def client(store_url: str) -> Iterator[Client]:
    with serving(store=store_url) as client:
        yield client


def forked(client: Client, session: str, **settings: Any) -> str:
    """Return the path of a new fork."""
    answer = client.post(f"{session}/fork", json=settings)
    assert answer.status_code == 201, answer.text
    return path_of(answer)


def path_of(answer: httpx2.Response) -> str:
    return urljoin(str(answer.request.url.path), answer.headers["location"])


@pytest.mark.parametrize(("optimizer", "settings", "kinds"), SETTINGS)
def test_a_fork_steps_on_to_the_same_bits(
    client: Client, optimizer: str, settings: dict[str, Any], kinds: set[str]
) -> None:
    hold = settings.get("hold_params", False)
    schedule = {"kind": "cosine", "total_steps": 9}
    about = {"labels": {"run": "1"}, "ttl_seconds": 3600, "clip": {"value": 0.5}, "schedule": schedule}
    first = create(client, optimizer, **settings, **about)
    params = train(client, first, some_params(), range(1, 5), hold)
    answer = client.post(f"{first}/fork", json={})
    assert answer.status_code == 201
    second, before = path_of(answer), client.get(first).json()
    assert (answer.json(), answer.headers["etag"]) == (client.get(second).json(), client.get(second).headers["etag"])
    assert {"id"} <= {name for name in before if before[name] != answer.json()[name]} <= OWN  # they may be as old
    assert client.get(f"{second}/history").json() == {"history": []}
    after = [bits(train(client, session, params, range(5, 8), hold)) for session in (first, second)]
    assert after[0] == after[1]
    assert client.get(first).json()["digest"] == client.get(second).json()["digest"] != before["digest"]


@pytest.mark.parametrize("size", [2, 1 << 20, 1 << 21])
@pytest.mark.parametrize("hold", [True, False])
def test_neither_session_changes_the_other(client: Client, size: int, hold: bool) -> None:
    """Also where large steps write over their states, and where the cache has both."""
    session = create(client, "adam", hold_params=hold)
    w = {"w": np.linspace(-1, 1, size, dtype=np.float32)}
    params = read_binary(binary_step(client, session, w, w))[0]

    def moved(path: str, scale: float) -> dict[str, Any]:
        return bits(read_binary(binary_step(client, path, {"w": w["w"] * scale}, None if hold else params))[0])

    twin, fork = forked(client, session), forked(client, session)
    state = client.get(f"{fork}/state").content
    first = moved(session, 3)
    assert client.get(f"{fork}/state").content == state
    grandchild = forked(client, fork)
    assert moved(fork, 3) == first
    assert moved(twin, 2) != first
    client.delete(session)
    client.delete(fork)
    assert moved(grandchild, 3) == first


def test_the_next_answer_of_a_fork_is_the_sources(client: Client) -> None:
    session = create(client, groups=[{"match": ["nothing*"], "lr": 1.0}], on_non_finite="skip")
    stepped(client, session, "a", **W)
    stepped(client, session, "b", **W)
    patched(client, session, hyperparameters={"lr": 0.5})
    stepped(client, session, **{**W, "grads": {"w": ["NaN", 0.0]}})
    fork = forked(client, session)
    assert client.get(fork).json()["warnings"] == client.get(session).json()["warnings"] != []
    assert client.get(fork).json()["skipped_steps"] == 1
    other = {"params": {"w": [9.0, 9.0]}, "grads": {"w": [1.0, 1.0]}}
    for body in (other, W, {**W, "step": 5, "loss": 1.0}):
        answer = stepped(client, session, **body)
        assert stepped(client, fork, **body) == answer
        assert answer["warnings"]


def test_a_fork_knows_the_parameters_that_were_answered_last(client: Client) -> None:
    session = create(client, on_other_params="reject")
    params = stepped(client, session, **W)["params"]
    fork = forked(client, session)
    problem(step(client, fork, **W), 409, "params_conflict")
    stepped(client, fork, params=params, grads=W["grads"])


def test_a_fork_repeats_no_answer_of_its_source(client: Client) -> None:
    session = create(client, on_other_params="accept", on_non_finite="skip")
    stepped(client, session, "a", **W, step=1)
    fork = forked(client, session)
    assert problem(step(client, fork, **W, step=1), 409, "step_conflict")["current_step"] == 1
    answer = step(client, fork, "a", **W)
    assert (answer.json()["step"], answer.headers.get("idempotent-replayed")) == (2, None)


def test_a_fork_has_its_own_labels_and_lifetime(client: Client) -> None:
    session = create(client, labels={"run": "1", "a": "b"}, ttl_seconds=3600)
    kept = client.get(forked(client, session)).json()
    assert (kept["labels"], kept["ttl_seconds"]) == ({"run": "1", "a": "b"}, 3600)
    own = client.get(forked(client, session, labels={"run": "2"}, ttl_seconds=None)).json()
    assert (own["labels"], own["ttl_seconds"], own["expires_at"]) == ({"run": "2"}, None, None)
    for settings, where in (({"labels": 3}, "labels"), ({"ttl_seconds": 0}, "ttl_seconds"), ({"clip": None}, "clip")):
        assert problem(client.post(f"{session}/fork", json=settings), 422, "invalid_session")["where"] == where


def test_a_fork_that_is_sent_again_is_made_once(client: Client) -> None:
    session = create(client)
    stepped(client, session, "a", **W)
    headers = {"idempotency-key": '"f"', "if-match": client.get(session).headers["etag"]}
    first = client.post(f"{session}/fork", json={}, headers=headers)
    stepped(client, session, **W)
    again = client.post(f"{session}/fork", json={}, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert (again.json(), again.headers["idempotent-replayed"]) == (first.json(), "true")
    problem(client.post(f"{session}/fork", json={"labels": {}}, headers=headers), 422, "idempotency_mismatch")
    other = {"idempotency-key": '"g"', "if-match": headers["if-match"]}
    problem(client.post(f"{session}/fork", json={}, headers=other), 412, "precondition_failed")
    assert len(client.get("/v1/sessions").json()["sessions"]) == 2
    client.delete(session)
    assert client.post(f"{session}/fork", json={}, headers=headers).json() == first.json()
    problem(client.post(f"{session}/fork", json={}), 404, "session_not_found")


def test_a_fork_of_a_new_session_is_empty(client: Client) -> None:
    fork = forked(client, create(client, hold_params=True))
    assert client.get(fork).json()["tensors"] == {}
    held = encode({"params": {"w": np.float32([1])}}, {})
    assert client.put(f"{fork}/params", content=held, headers={"content-type": SAFETENSORS}).status_code == 204
    assert client.get(forked(client, fork) + "/params").json() == {"params": {"w": [1.0]}}


def test_a_fork_counts_against_the_quota() -> None:
    for settings in ({"max_sessions": 1}, {"max_state_bytes": 150}):
        with serving(**settings) as client:
            session = create(client)
            ten = {"w": np.ones(10, np.float32)}
            read_binary(binary_step(client, session, ten, ten))
            problem(client.post(f"{session}/fork", json={}), 403, "quota_exceeded")
            assert len(client.get("/v1/sessions").json()["sessions"]) == 1


@pytest.mark.parametrize("size", [2, 1 << 21])
async def test_a_fork_by_another_process_has_the_stored_state(size: int) -> None:
    store = MemoryStore(100)
    one, other = Process(store), Process(store)
    session = (await one.sessions.create("tenant", Config.parse("adamw"), CREATION))[1]
    for number in (1, 2, 3):
        last = await (one, other)[number % 2].stepping.step("tenant", session.id, request(number, size=size))
    forks = [(await process.sessions.fork("tenant", session.id, {}, CREATION))[1] for process in (one, other)]
    assert [fork.digest for fork in forks] == [last.kept.digest] * 2
    answers = [
        await one.stepping.step("tenant", known, request(4, size=size))
        for known in (session.id, *(fork.id for fork in forks))
    ]
    assert len({answer.kept.digest for answer in answers}) == 1


@pytest.mark.parametrize("size", [2, 1 << 21])
async def test_a_fork_beside_steps_is_of_one_moment(store_url: str, size: int) -> None:
    digests = dict[int, str]()
    async with open_store(Settings(store=store_url)) as store:
        process = Process(store)
        session = (await process.sessions.create("tenant", Config.parse("adamw"), CREATION))[1]

        async def steps() -> None:
            for number in range(1, 9):
                answer = await process.stepping.step("tenant", session.id, request(number, size=size))
                digests[number] = answer.kept.digest
                await asyncio.sleep(0)

        async def forks() -> list[Session]:
            found = []
            while len(digests) < 8:
                with suppress(SessionBusy):
                    found.append((await process.sessions.fork("tenant", session.id, {}, CREATION))[1])
                await asyncio.sleep(0)
            return found

        _, found = await asyncio.gather(steps(), forks())
        assert len({fork.step for fork in found}) > 1
        fresh = Process(store)
        for fork in found:
            stored = await fresh.records.load("tenant", fork.id)
            cutting = Pieces(stored.head)
            assert stored.session.with_digest(cutting.finish(stored.state.memory)).digest == fork.digest
            assert fork.digest == digests.get(fork.step, session.digest)
