"""The ledger beside other writes: what they may not change under waiting contributions, and what a push races with."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from httpx2 import Client

from app.store import ledger_envelope
from app.store.base import Save
from app.store.ledger import Ledger as StoredLedger
from app.store.ledger import LedgerSave
from app.store.memory import MemoryStore
from app.store.stamp import VersionConflict
from app.workers import ledgers
from app.workers.arrivals import take
from app.workers.ledger import Ledger
from tests.service.calls import SAFETENSORS, W, create, patched, problem, serving, step, stepped
from tests.service.crew import PARAMS, Crew
from tests.service.pushes import ROUNDS, joined, push_of

WORKERS = {"expected": 3, "quorum": 2}


class RacingStore(MemoryStore):
    """A store in which a contribution comes between the last look of a write and its save."""

    late: LedgerSave | None = None

    async def save(self, save: Save) -> None:
        late, self.late = self.late, None
        if late is not None:
            await self.save_ledger(late)
        await super().save(save)


@pytest.fixture
def store() -> RacingStore:
    return RacingStore(10)


@pytest.fixture
def client(store: RacingStore) -> Iterator[Client]:
    with serving(store) as client:
        yield client


@pytest.fixture
def session(client: Client) -> str:
    """Return the path of a session at step 1, whose workers work in rounds."""
    session = create(client, "sgd", hold_params=True, undo=1, workers=None)
    stepped(client, session, **W)
    patched(client, session, workers=WORKERS)
    return session


def pushed(store: MemoryStore, session: str) -> LedgerSave:
    """Return the save of a worker's contribution to the round after step 1."""
    name = session.rpartition("/")[2]
    ledger = joined("a")
    ledger = take(ROUNDS, ledger, 1, 2, push_of(ledger, "a"), 1.0, rejects=True).ledger
    return ledgers.next_of(name, asyncio.run(store.ledger(name)), ledger, ROUNDS)


def waiting(store: MemoryStore, session: str) -> None:
    asyncio.run(store.save_ledger(pushed(store, session)))


def test_nothing_changes_what_waiting_contributions_stand_on(client: Client, store: RacingStore, session: str) -> None:
    waiting(store, session)
    before, grads = client.get(session).content, {"grads": W["grads"]}
    file, headers = client.get(f"{session}/state").content, {"content-type": SAFETENSORS}
    for refused in (
        step(client, session, **grads),
        client.post(f"{session}/undo", json={"step": 1}),
        client.put(f"{session}/params", json={"params": W["params"]}),
        client.put(f"{session}/state", content=file, headers=headers),
        client.patch(f"{session}/tensors", json={"reset": ["w"]}),
        client.patch(session, json={"workers": None}),
        client.patch(session, json={"workers": {"quorum": 1}}),
        client.patch(session, json={"groups": [{"match": ["w"], "optimizer": "adam"}]}),
        client.patch(session, json={"hyperparameters": {"momentum": 0.9}}),
    ):
        assert problem(refused, 409, "round_open")["round"] == 2
    assert client.get(session).content == before
    assert client.post(f"{session}/preview", json=grads).status_code == 200
    changed = patched(client, session, hyperparameters={"lr": 0.5}, labels={"a": "b"}, workers=WORKERS)
    assert changed["hyperparameters"]["lr"] == 0.5


def without_round(client: Client, session: str) -> dict[str, Any]:
    """Return the session without its open round, which a contribution changes."""
    document: dict[str, Any] = client.get(session).json()
    del document["round"]
    return document


@pytest.mark.parametrize("has_ledger", [False, True])
@pytest.mark.parametrize("change", [{"workers": None}, {"workers": {"mode": "async"}}, {"groups": []}])
def test_a_change_does_not_race_with_a_contribution(
    client: Client, store: RacingStore, session: str, has_ledger: bool, change: Any
) -> None:
    """The contribution comes after the change has looked; it was checked against the old settings."""
    if has_ledger:
        name = session.rpartition("/")[2]
        asyncio.run(store.save_ledger(ledgers.next_of(name, None, joined("a"), ROUNDS)))
    before = without_round(client, session)
    store.late = pushed(store, session)
    problem(client.patch(session, json=change), 409, "round_open")
    assert without_round(client, session) == before


@pytest.mark.parametrize("has_ledger", [False, True])
def test_a_contribution_checked_before_a_change_is_not_saved(
    client: Client, store: RacingStore, session: str, has_ledger: bool
) -> None:
    name = session.rpartition("/")[2]
    if has_ledger:
        asyncio.run(store.save_ledger(ledgers.next_of(name, None, joined("a"), ROUNDS)))
    push = pushed(store, session)
    patched(client, session, workers=None)
    with pytest.raises(VersionConflict):
        asyncio.run(store.save_ledger(push))


def test_epochs_go_on_while_a_session_has_no_workers(client: Client, store: RacingStore, session: str) -> None:
    name = session.rpartition("/")[2]
    asyncio.run(store.save_ledger(ledgers.next_of(name, None, joined("a"), ROUNDS)))
    patched(client, session, workers=None)
    stepped(client, session, grads=W["grads"])
    patched(client, session, workers=WORKERS)
    assert ledgers.read(asyncio.run(store.ledger(name))) == joined("a")


def test_a_ledger_is_due_when_its_round_closes(store: RacingStore) -> None:
    ledger = joined("a", "b")
    assert ledgers.next_of("id", None, ledger, ROUNDS).ledger.due_at is None
    for name, at in (("a", 5.0), ("b", 8.0)):
        ledger = take(ROUNDS, ledger, 1, 2, push_of(ledger, name), at, rejects=True).ledger
    first = ledgers.next_of("id", None, ledger, ROUNDS)
    assert (first.ledger.version, first.ledger.due_at) == (1, 10.0)
    second = ledgers.next_of("id", first.ledger, ledger, None)
    assert (second.ledger.version, second.ledger.due_at, second.previous) == (2, None, first.ledger)
    assert ledgers.read(second.ledger) == ledger
    assert ledgers.read(None) == Ledger()


class DamagedStore(MemoryStore):
    """A store whose ledgers cannot be read any more, once it is told so."""

    is_damaged = False

    async def ledger(self, session_id: str) -> StoredLedger | None:
        if self.is_damaged:
            ledger_envelope.decode(session_id, b"garbage")
        return await super().ledger(session_id)


def test_a_session_with_a_damaged_ledger_is_forked_and_deleted() -> None:
    store = DamagedStore(10)
    with serving(store) as client:
        crew = Crew(client, "a")
        store.is_damaged = True
        refused = problem(crew.push(1, "a"), 500, "state_damaged")
        assert "fork the session, whose state is whole, and delete this one" in refused["detail"]
        fork = client.post(f"{crew.session}/fork", json={}).json()["id"]
        assert client.get(f"/v1/sessions/{fork}/params").json()["params"] == PARAMS
        assert client.delete(crew.session).status_code == 204
        assert client.get(crew.session).status_code == 404
