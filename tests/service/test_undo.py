"""Undo: back to the state before the last step, to the bit, once, and no further than what was kept."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from httpx2 import Client, Response

from app.errors import StepConflict
from app.session import Session
from app.settings import Settings
from app.store import open_store
from app.store.base import Head, Store
from app.store.memory import MemoryStore
from optim_engine import Config
from tests.bodies import encode
from tests.service.calls import (
    SAFETENSORS,
    W,
    binary_step,
    create,
    patched,
    path_of,
    problem,
    read_binary,
    serving,
    step,
    stepped,
)
from tests.service.processes import CREATION, Process, request
from tests.service.state_files import some_params, train

OWN = {"updated_at", "rewinds"}
"""The members that an undo does not put back."""


@pytest.fixture
def client(store_url: str) -> Iterator[Client]:
    with serving(store=store_url) as client:
        yield client


def undo(client: Client, session: str, number: int, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post(f"{session}/undo", json={"step": number}, headers=named)


def undone(client: Client, session: str, number: int) -> dict[str, Any]:
    """Return the answer of an undo that must not fail."""
    answer = undo(client, session, number)
    assert answer.status_code == 200, answer.text
    assert answer.headers["etag"] == client.get(session).headers["etag"]
    document: dict[str, Any] = answer.json()
    assert document == client.get(session).json()
    return document


def seen(client: Client, session: str) -> tuple[dict[str, Any], bytes]:
    """Return all that an undo puts back: the session, and the bytes of its state."""
    file = client.get(f"{session}/state").content
    about = {name: value for name, value in client.get(session).json().items() if name not in OWN}
    return about, file[8 + int.from_bytes(file[:8], "little") :]


@pytest.mark.parametrize(
    ("optimizer", "settings"),
    [("adamw", {}), ("nadam", {"hold_params": True}), ("lion", {}), ("adafactor", {"hold_params": True})],
)
def test_steps_are_undone_to_the_bit(client: Client, optimizer: str, settings: dict[str, Any]) -> None:
    hold, params = settings.get("hold_params", False), some_params()
    session = create(client, optimizer, undo=3, **settings)
    before, after = [], [params]
    for number in range(1, 5):
        before.append(seen(client, session))
        after.append(train(client, session, after[-1], range(number, number + 1), hold=hold))
    last = seen(client, session)
    for number in (4, 3, 2):
        assert undone(client, session, number)["rewinds"] == 5 - number
        assert seen(client, session) == before[number - 1]
    problem(undo(client, session, 1), 409, "undo_unavailable")
    train(client, session, after[1], range(2, 5), hold=hold)
    assert seen(client, session) == last


@pytest.mark.parametrize("hold", [True, False])
def test_a_large_step_is_undone_to_the_bit(client: Client, hold: bool) -> None:
    """Also in place, where the old state is in the store alone."""
    session, w = create(client, hold_params=hold, undo=1), np.linspace(-1, 1, 1 << 20, dtype=np.float32)
    params = read_binary(binary_step(client, session, {"w": w}, {"w": w}))[0]
    for _ in range(2):
        before = seen(client, session)
        first = binary_step(client, session, {"w": w * 3}, None if hold else params)
        undone(client, session, 2)
        assert seen(client, session) == before
        assert binary_step(client, session, {"w": w * 3}, None if hold else params).content == first.content
        undone(client, session, 2)


def test_a_step_of_rows_is_undone_to_the_bit(client: Client) -> None:
    """A large table, of which generations share the pieces that no step has changed."""
    session = create(client, "adam", hold_params=True, undo=2)
    held = encode({"params": {"emb": np.ones((1 << 18, 4), np.float32)}}, {})
    assert client.put(f"{session}/params", content=held, headers={"content-type": SAFETENSORS}).is_success
    rows = {"rows": [3, 1 << 16], "data": [[1, 2, 3, 4], [5, 6, 7, 8]]}
    stepped(client, session, grads={"emb": rows})
    before = seen(client, session)
    first = stepped(client, session, grads={"emb": {**rows, "rows": [3, 1 << 17]}})
    undone(client, session, 2)
    assert seen(client, session) == before
    assert stepped(client, session, grads={"emb": {**rows, "rows": [3, 1 << 17]}}) == first


def test_the_answer_of_the_step_before_can_be_repeated(client: Client) -> None:
    session = create(client, undo=1, on_other_params="reject")
    first = stepped(client, session, "a", **W, step=1)
    patched(client, session, hyperparameters={"lr": 0.5})
    stepped(client, session, "b", params=first["params"], grads={"w": [1.0, 1.0]})
    patched(client, session, hyperparameters={"lr": 0.25})
    undone(client, session, 2)
    for key in ("a", None):
        again = step(client, session, key, **W, step=1)
        assert (again.json(), again.headers["idempotent-replayed"]) == (first, "true")
    problem(step(client, session, **W), 409, "params_conflict")
    stepped(client, session, params=first["params"], grads={"w": [1.0, 1.0]})


def test_settings_stay_and_the_digest_is_of_those_in_force(client: Client) -> None:
    session = create(client, undo=2)
    stepped(client, session, **W)
    patched(client, session, hyperparameters={"lr": 0.5}, labels={"run": "1"})
    stepped(client, session, **W)
    assert undone(client, session, 2)["digest"] == undone_later(client)
    after = patched(client, session, schedule={"kind": "constant"}, ttl_seconds=60)
    stepped(client, session, **W)
    answer = undone(client, session, 2)
    assert {name for name in after if after[name] != answer[name]} == OWN | {"expires_at"}
    assert undone(client, session, 1)["labels"] == {"run": "1"}


def undone_later(client: Client) -> str:
    """Return the digest of a session that took one step before its learning rate was 0.5."""
    session = create(client)
    stepped(client, session, **W)
    return str(patched(client, session, hyperparameters={"lr": 0.5})["digest"])


@pytest.mark.parametrize("kinds", [("lazy", "dense"), ("dense", "lazy")], ids=" to ".join)
def test_a_state_from_before_rows_became_lazy_can_be_kept(client: Client, kinds: tuple[str, str]) -> None:
    groups = [[{"match": ["emb"], "sparse": kind}] for kind in kinds]
    session = create(client, hold_params=True, undo=2, groups=groups[0])
    for params in (W["params"], {}):
        stepped(client, session, params=params, grads=W["grads"])
    patched(client, session, groups=groups[1])
    digest = undone(client, session, 2)["digest"]
    file, fork = client.get(f"{session}/state").content, client.post(f"{session}/fork", json={})
    copy = client.post("/v1/sessions", content=file, headers={"content-type": SAFETENSORS})
    assert fork.json()["digest"] == copy.json()["digest"] == digest


def test_the_key_of_an_undone_step_names_its_fate(client: Client) -> None:
    session = create(client, undo=1)
    first = stepped(client, session, "a", **W, step=1)
    undone(client, session, 1)
    refused = problem(step(client, session, "a", **W, step=1), 409, "step_conflict")
    assert (refused["undone"], refused["current_step"]) == (True, 0)
    problem(step(client, session, "a", **W), 422, "idempotency_mismatch")
    again = step(client, session, **W, step=1)
    assert (again.json(), again.headers.get("idempotent-replayed")) == (first, None)
    assert problem(step(client, session, "a", **W, step=1), 409, "step_conflict")["undone"] is True


def test_the_history_marks_the_row_of_an_undone_step(client: Client) -> None:
    session = create(client, undo=2, on_non_finite="skip")
    stepped(client, session, **W, loss=1.5)
    stepped(client, session, **W, loss=2.5)
    stepped(client, session, params=W["params"], grads={"w": ["NaN", 1.0]})
    before = client.get(f"{session}/history").json()["history"]
    undone(client, session, 2)
    rows = client.get(f"{session}/history").json()["history"]
    assert rows == [before[0], {**before[1], "undone": True}, before[2]]
    stepped(client, session, **W, loss=3.5)
    undone(client, session, 2)
    undone(client, session, 1)
    rows = client.get(f"{session}/history?last=9").json()["history"]
    assert [(row["step"], row["loss"], row.get("undone", False)) for row in rows] == [
        (1, 1.5, True), (2, 2.5, True), (2, None, False), (2, 3.5, True)
    ]  # fmt: skip


def test_only_applied_steps_are_undone(client: Client) -> None:
    bad = {**W, "grads": {"w": ["NaN", 1.0]}}
    session = create(client, undo=1, on_non_finite="skip")
    stepped(client, session, "a", **bad)
    before = seen(client, session)
    stepped(client, session, **W)
    stepped(client, session, "b", **bad)
    answer = undone(client, session, 1)
    assert (answer["step"], answer["skipped_steps"]) == (0, 2)
    assert seen(client, session) == ({**before[0], "skipped_steps": 2}, before[1])
    assert step(client, session, "a", **bad).headers["idempotent-replayed"] == "true"
    assert problem(step(client, session, "b", **bad), 409, "step_conflict")["skipped"] is True
    problem(undo(client, session, 1), 409, "step_conflict")


def test_a_tensor_of_the_undone_step_is_forgotten(client: Client) -> None:
    session = create(client, undo=1)
    stepped(client, session, **W)
    before = seen(client, session)
    stepped(client, session, params={"x": [1.0]}, grads={"x": [1.0]})
    undone(client, session, 2)
    assert seen(client, session) == before
    stepped(client, session, params={"x": [1.0, 2.0]}, grads={"x": [1.0, 2.0]})


def test_a_damaged_generation_is_refused_and_the_session_goes_on() -> None:
    store = MemoryStore(10)
    with serving(store) as client:
        session = create(client, undo=2)
        for _ in range(3):
            stepped(client, session, **W)
        [head] = store._heads.values()
        assert isinstance(head, Head)
        pieces = store._states[head.session_id].by_name
        pieces[head.earlier[0].pieces[0].name] = memoryview(bytes(72))
        before = seen(client, session)
        assert problem(undo(client, session, 3), 500, "state_damaged")["piece"] == head.earlier[0].pieces[0].name
        assert seen(client, session) == before
        stepped(client, session, **W)
        undone(client, session, 4)


@pytest.mark.parametrize("what", ["state", "params", "tensors", "fork", "none"])
def test_what_is_put_or_edited_ends_what_can_be_undone(client: Client, what: str) -> None:
    session = create(client, hold_params=True, undo=0 if what == "none" else 2)
    for number in (1, 2):
        stepped(client, session, f"{number}", **(W if number == 1 else {"grads": W["grads"]}))
    match what:
        case "state":
            content = client.get(f"{session}/state").content
            assert client.put(f"{session}/state", content=content, headers={"content-type": SAFETENSORS}).is_success
        case "params":
            assert client.put(f"{session}/params", json={"params": W["params"]}).is_success
        case "tensors":
            assert client.patch(f"{session}/tensors", json={"rename": {"w": "x"}}).is_success
        case "fork":
            session = f"/v1/sessions/{client.post(f'{session}/fork', json={}).json()['id']}"
            assert client.get(session).json()["undo"] == 0
    before = seen(client, session)
    refused = problem(undo(client, session, 2), 409, "undo_unavailable")
    assert refused["current_step"] == 2
    assert seen(client, session) == before
    stepped(client, session, grads={before[0]["tensors"].popitem()[0]: W["grads"]["w"]})
    assert undo(client, session, 3).status_code == (409 if what in ("fork", "none") else 200)


def test_a_session_made_of_a_file_undoes_its_own_steps(client: Client) -> None:
    session = create(client, undo=1)
    stepped(client, session, **W)
    content = client.get(f"{session}/state").content
    made = path_of(client.post("/v1/sessions", content=content, headers={"content-type": SAFETENSORS}))
    problem(undo(client, made, 1), 409, "undo_unavailable")
    before = seen(client, made)
    stepped(client, made, **W)
    undone(client, made, 2)
    assert seen(client, made) == before


def test_a_body_that_is_no_undo_is_refused(client: Client) -> None:
    session = create(client, undo=1)
    bodies = ({}, "step"), ({"step": "1"}, "step"), ({"step": 0}, "step"), ({"steps": 1}, "steps"), ([], None)
    for body, where in bodies:
        assert problem(client.post(f"{session}/undo", json=body), 422, "invalid_session").get("where") == where
    for wrong in (17, -1, 1.5, True, None):
        answer = client.post("/v1/sessions", json={"optimizer": "adam", "undo": wrong})
        assert problem(answer, 422, "invalid_session")["where"] == "undo"
    problem(client.patch(session, json={"undo": 2}), 422, "invalid_session")


def test_what_is_kept_counts_in_the_quota() -> None:
    """Pieces that generations share count once."""
    w, b = {"w": np.ones(1 << 20, np.float32)}, {"b": np.ones(4, np.float32)}
    content = encode({"params": w, "grads": w}, {})
    with serving(max_state_bytes=20 << 20) as client:
        session = create(client, undo=2)
        for _ in range(2):
            read_binary(binary_step(client, session, {**w, **b}, {**w, **b}))  # 8 MiB of state, twice
        for path in ("steps", "preview"):
            answer = client.post(f"{session}/{path}", content=content, headers={"content-type": SAFETENSORS})
            assert problem(answer, 403, "quota_exceeded")["limit"] == 20 << 20
        undone(client, session, 2)
        for _ in range(3):
            read_binary(binary_step(client, session, b, b))  # changes two of nine pieces
        [listed] = client.get("/v1/sessions").json()["sessions"]
        assert listed["state_bytes"] < 9 << 20
        other = create(client)
        read_binary(
            binary_step(client, other, {"x": np.ones(900_000, np.float32)}, {"x": np.ones(900_000, np.float32)})
        )


async def another(store: Store, **settings: Any) -> tuple[Process, Process, Session]:
    one, other = Process(store), Process(store)
    config = Config.parse("adamw", hold_params=True)
    return one, other, (await one.sessions.create("tenant", config, CREATION, undo=2, **settings))[1]


@pytest.mark.parametrize("size", [2, 1 << 21])
async def test_another_process_undoes_and_the_first_goes_on(size: int) -> None:
    one, other, session = await another(MemoryStore(100))
    await one.stepping.step("tenant", session.id, request(1, size=size))
    digests = []
    for number in (2, 3):
        digests.append((await one.records.load("tenant", session.id)).session.digest)
        held = replace(request(number, float(number), size=size), params={})
        await one.stepping.step("tenant", session.id, held)
    for number in (3, 2):
        written = await other.sessions.undo("tenant", session.id, number, CREATION)
        assert written.session.digest == digests.pop()
    answer = await one.stepping.step("tenant", session.id, replace(request(2, 2.0, size=size), params={}))
    assert (answer.kept.step, answer.replayed) == (2, False)


@pytest.mark.parametrize("size", [2, 1 << 20])
async def test_one_of_many_undos_and_steps_wins(store_url: str, size: int) -> None:
    async with open_store(Settings(store=store_url)) as store:
        one, other, session = await another(store)
        await one.stepping.step("tenant", session.id, request(1, size=size))
        digests = {(await one.records.load("tenant", session.id)).session.digest}
        for lap in range(6):
            asked = replace(request(2, float(lap), size=size), params={})
            digests.add((await one.stepping.step("tenant", session.id, asked)).kept.digest)
            found = await asyncio.gather(
                one.sessions.undo("tenant", session.id, 2, CREATION),
                other.sessions.undo("tenant", session.id, 2, CREATION),
                other.stepping.step("tenant", session.id, replace(request(3, size=size), params={})),
                return_exceptions=True,
            )
            won = [not isinstance(answer, BaseException) for answer in found]
            assert {type(answer) for answer in found if isinstance(answer, BaseException)} == {StepConflict}
            assert sum(won[:2]) + won[2] == 1
            now = (await Process(store).records.get("tenant", session.id))[1]
            assert (now.step, now.rewinds) == ((3, session.rewinds) if won[2] else (1, session.rewinds + 1))
            if won[2]:
                for number in (3, 2):
                    now = (await one.sessions.undo("tenant", session.id, number, CREATION)).session
            assert now.digest in digests
            session = now
