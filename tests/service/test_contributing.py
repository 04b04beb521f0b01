"""Contributions to rounds, on each store: taken once, answered again, refused with what became of them."""

import asyncio
from collections.abc import Iterator

import pytest
from httpx2 import Client, Response

from app.contributions.books import Book
from app.contributions.closing import Closing
from app.contributions.gradients import Examined
from app.store.ledger import LedgerSave
from app.store.memory import MemoryStore
from app.workers import ledgers
from app.workers.push import Packed
from tests.service.calls import create, problem, serving, stepped
from tests.service.crew import GRADS, PARAMS, Crew
from tests.service.gathered import created, service
from tests.service.pushes import ROUNDS


@pytest.fixture
def client(store_url: str) -> Iterator[Client]:
    with serving(store=store_url) as client:
        yield client


def test_a_round_closes_when_all_expected_are_in(client: Client) -> None:
    crew = Crew(client, "a", "b")
    first = crew.push(1, "a")
    assert first.status_code == 202
    assert first.json() == {"round": 1, "state": "open", "have": 1, "need": 0, "closes_at": first.json()["closes_at"]}
    last = crew.push(1, "b", {"w": [1.5, 0.25, 0.0], "b": [0.0]}, weight=3.0, loss=0.5)
    assert last.status_code == 200
    found = crew.round(1)
    assert (found["state"], found["step"], found["have"], found["digest"]) == ("applied", 1, 2, last.json()["digest"])
    assert [(entry["worker"], entry["weight"], entry["fate"]) for entry in found["contributions"]] == [
        ("a", 1.0, "applied"),
        ("b", 3.0, "applied"),
    ]
    plain = create(client, hold_params=True)
    client.put(f"{plain}/params", json={"params": PARAMS})
    mean = {"w": [(0.5 + 4.5) / 4, (-0.25 + 0.75) / 4, 0.25], "b": [0.5]}
    assert stepped(client, plain, grads=mean)["params"] == last.json()["params"] == crew.params()


def test_one_worker_of_weight_one_takes_the_plain_step(client: Client) -> None:
    crew, plain = Crew(client, "a"), create(client, hold_params=True)
    client.put(f"{plain}/params", json={"params": PARAMS})
    for number in (1, 2):
        pushed, step = crew.push(number, "a").json(), stepped(client, plain, grads=GRADS)
        assert pushed == step | {"digest": pushed["digest"]}


def test_a_contribution_sent_again_is_the_same(client: Client) -> None:
    crew = Crew(client, "a", "b")
    crew.push(1, "a")
    again = crew.push(1, "a")
    assert (again.status_code, again.json()["have"], again.headers["idempotent-replayed"]) == (202, 1, "true")
    problem(crew.push(1, "a", {"w": [0.0, 0.0, 0.0]}), 422, "contribution_mismatch")
    last = crew.push(1, "b")
    for name in ("a", "b"):
        answer = crew.push(1, name)
        assert (answer.status_code, answer.headers["idempotent-replayed"]) == (200, "true")
        assert answer.content == last.content
    for name in ("a", "b"):
        crew.push(2, name)
    later = crew.push(1, "a")
    assert (later.status_code, later.json()) == (200, {"round": 1, "fate": "applied", "step": 1})


def test_a_contribution_survives_its_workers_new_epoch(client: Client) -> None:
    crew = Crew(client, "a", "b")
    old = dict(crew.epochs)
    crew.push(1, "a")
    assert crew.join("a") > old["a"]
    assert crew.push(1, "a").headers["idempotent-replayed"] == "true"
    problem(crew.push(1, "a", {"w": [0.0, 0.0, 0.0]}, epoch=old["a"]), 409, "worker_fenced")
    assert crew.push(1, "b").status_code == 200
    assert crew.round(1)["contributions"][0]["fate"] == "applied"


def test_a_late_contribution_is_refused_and_recorded_once(client: Client) -> None:
    crew = Crew(client, "a", "b", quorum=1)
    crew.push(1, "a")
    assert crew.close(1).status_code == 200
    etag = client.get(crew.session).headers["etag"]
    for _ in range(2):
        refused = problem(crew.push(1, "b"), 409, "round_closed")
        assert (refused["fate"], refused["reason"], refused["current_step"]) == ("dropped", "late", 1)
    assert crew.fates(1) == {"a": "applied", "b": "late"}
    assert len(client.get(f"{crew.session}/history").json()["history"]) == 1
    assert client.get(crew.session).headers["etag"] == etag


def test_a_number_that_is_not_finite_leaves_its_place_free(client: Client) -> None:
    crew = Crew(client, "a", "b")
    crew.push(1, "a")
    refused = problem(crew.push(1, "b", {"w": [0.0, "NaN", 1.0]}), 422, "non_finite")
    assert (refused["tensor"], refused["index"], refused["round"]) == ("w", [1], 1)
    assert crew.fates(1) == {"a": "applied", "b": "non_finite"}


def test_a_gradient_that_does_not_fit_never_waits(client: Client) -> None:
    crew = Crew(client, "a", "b")
    for grads in ({"w": [1.0]}, {"unknown": [1.0]}):
        problem(crew.push(1, "a", grads), 422, "tensor_mismatch")
    problem(crew.push(1, "a", params=PARAMS), 400, "malformed_body")
    problem(crew.push(2, "a"), 409, "step_conflict")
    problem(crew.push(1, "c"), 409, "worker_fenced")
    assert crew.round(1)["have"] == 0


@pytest.mark.parametrize("policy", ["reject", "skip"])
def test_the_sum_of_finite_gradients_may_not_be_finite(client: Client, policy: str) -> None:
    crew = Crew(client, "a", settings={"on_non_finite": policy}, aggregate="mean_of_sums")
    refused = problem(crew.push(1, "a", {"w": [3e38, 0.0, 0.0]}, weight=1e-3), 422, "non_finite")
    assert refused["round"] == 1
    assert crew.round(1)["have"] == 0
    assert crew.push(1, "a").status_code == 200


async def test_all_waiters_are_told_of_a_sum_not_finite() -> None:
    async with service() as client:
        path = await created(
            client, hold_params=True, workers={"expected": 2, "quorum": 2, "aggregate": "mean_of_sums"}
        )
        await client.put(f"{path}/params", json={"params": PARAMS})
        huge = {"grads": {"w": [3e38, 0.0, 0.0]}, "weight": 1e-3}

        async def contribute(name: str) -> Response:
            epoch = (await client.put(f"{path}/workers/{name}", json={})).json()["epoch"]
            place = f"{path}/rounds/1/contributions/{name}"
            return await client.put(place, json={"epoch": epoch, **huge}, headers={"prefer": "wait=60"})

        async with asyncio.timeout(20):
            answers = await asyncio.gather(contribute("a"), contribute("b"))
        for answer in answers:
            assert problem(answer, 422, "non_finite")["round"] == 1


def test_writes_of_workers_are_made_on_the_named_state(client: Client) -> None:
    crew = Crew(client, "a", "b", quorum=1)
    etag = client.get(crew.session).headers["etag"]
    for status, tag in ((412, '"0-0"'), (202, etag)):
        assert crew.push(1, "a", headers={"if-match": tag}).status_code == status
    assert crew.push(1, "a", headers={"if-match": '"0-0"'}).status_code == 202
    problem(crew.close(1, if_match='"0-0"'), 412, "precondition_failed")
    assert crew.close(1, if_match=etag).headers["etag"] == client.get(crew.session).headers["etag"]


async def test_settings_that_change_meanwhile_are_checked_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings change after the gradients were checked, and before they are saved."""
    examined = Closing.examined

    async def examined_then_changed(self: Closing, book: Book, packed: Packed, *, is_stored: bool) -> Examined:
        gradients = await examined(self, book, packed, is_stored=is_stored)
        await client.patch(path, json={"hyperparameters": {"momentum": 0.9}})
        return gradients

    async with service() as client:
        path = await created(client, optimizer="sgd", hold_params=True, workers={"expected": 2})
        await client.put(f"{path}/params", json={"params": PARAMS})
        await client.put(f"{path}/workers/a", json={})
        monkeypatch.setattr(Closing, "examined", examined_then_changed)
        rows = {"epoch": 1, "grads": {"w": {"rows": [0], "data": [1.0]}}}
        refused = await client.put(f"{path}/rounds/1/contributions/a", json=rows)
        assert "momentum" in problem(refused, 422, "tensor_mismatch")["detail"]
        assert (await client.get(f"{path}/rounds/1")).json()["have"] == 0


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_parameters_are_answered_in_the_dtype_of_the_gradients(client: Client, dtype: str) -> None:
    settings = {"wire_dtype": "bfloat16"}
    crew, plain = Crew(client, "a", settings=settings), create(client, hold_params=True, **settings)
    client.put(f"{plain}/params", json={"params": PARAMS})
    grads = {name: {"dtype": dtype, "shape": [len(g)], "data": g} for name, g in GRADS.items()}
    pushed, step = crew.push(1, "a", grads).json(), stepped(client, plain, grads=grads)
    assert pushed == step | {"digest": pushed["digest"]}
    assert crew.push(1, "a", grads).json() == pushed


class TellingStore(MemoryStore):
    """Tells when a contribution is stored."""

    def __init__(self) -> None:
        super().__init__(10)
        self.taken = asyncio.Event()

    async def save_ledger(self, save: LedgerSave) -> None:
        await super().save_ledger(save)
        if save.parts:
            self.taken.set()


async def test_a_waiting_contribution_that_the_store_lost_is_told() -> None:
    """The store goes back to before the contribution, as a failover to a replica that was behind has it."""
    store = TellingStore()
    async with service(store) as client:
        path = await created(client, hold_params=True, workers={"expected": 2})
        session_id = path.rpartition("/")[2]
        await client.put(f"{path}/params", json={"params": PARAMS})
        await client.put(f"{path}/workers/a", json={})
        before = ledgers.read(await store.ledger(session_id))
        place, sent = f"{path}/rounds/1/contributions/a", {"epoch": 1, "grads": GRADS}
        pushing = asyncio.create_task(client.put(place, json=sent, headers={"prefer": "wait=1"}))
        async with asyncio.timeout(10):
            await store.taken.wait()
        await store.save_ledger(ledgers.next_of(session_id, await store.ledger(session_id), before, ROUNDS))
        assert "round 1" in problem(await pushing, 503, "store_unavailable")["detail"]
        assert (await client.put(place, json=sent)).json()["have"] == 1
