"""Members: what workers contributed, when they leave, and when the session is not for workers in between."""

from collections.abc import Iterator

import pytest
from httpx2 import Client

from tests.service.calls import patched, problem, serving, stepped
from tests.service.crew import GRADS, Crew


@pytest.fixture
def client(store_url: str) -> Iterator[Client]:
    with serving(store=store_url) as client:
        yield client


def test_a_contribution_stays_when_its_worker_leaves(client: Client) -> None:
    crew = Crew(client, "a", "b")
    assert crew.push(1, "a").status_code == 202
    client.delete(f"{crew.session}/workers/a")
    assert crew.push(1, "a").headers["idempotent-replayed"] == "true"
    problem(crew.push(1, "a", {"w": [0.0, 0.0, 0.0]}), 409, "worker_fenced")
    crew.join("a")
    problem(crew.push(1, "a", {"w": [0.0, 0.0, 0.0]}), 422, "contribution_mismatch")
    assert crew.push(1, "b").status_code == 200
    fates = [(entry["worker"], entry["fate"]) for entry in crew.round(1)["contributions"]]
    assert fates == [("a", "applied"), ("b", "applied"), ("a", "dropped")]


def test_workers_come_and_go_between_plain_steps(client: Client) -> None:
    crew = Crew(client, "a", settings={"undo": 1})
    crew.push(1, "a")
    patched(client, crew.session, workers=None)
    problem(crew.push(2, "a"), 409, "workers_only")
    stepped(client, crew.session, grads=GRADS)
    assert client.post(f"{crew.session}/undo", json={"step": 2}).status_code == 200
    patched(client, crew.session, workers={"expected": 1})
    assert crew.push(1, "a").headers["idempotent-replayed"] == "true"
    problem(crew.push(3, "a"), 409, "step_conflict")
    assert crew.push(2, "a").json()["step"] == 2
    assert crew.fates(2) == {"a": "applied"}
    patched(client, crew.session, workers={"mode": "async"})
    problem(crew.push(3, "a"), 409, "workers_only")
    patched(client, crew.session, workers={"mode": "rounds"})
    assert crew.push(3, "a").json()["step"] == 3
    assert crew.join("a") == 2


def test_an_undone_round_keeps_all_fates(client: Client) -> None:
    crew = Crew(client, "a", "b", settings={"undo": 1}, quorum=1)
    crew.push(1, "a")
    crew.close(1)
    problem(crew.push(1, "b"), 409, "round_closed")
    patched(client, crew.session, workers=None)
    assert client.post(f"{crew.session}/undo", json={"step": 1}).status_code == 200
    [row] = client.get(f"{crew.session}/history").json()["history"]
    assert (row["undone"], [entry["fate"] for entry in row["contributions"]]) == (True, ["applied", "dropped"])
    patched(client, crew.session, workers={"expected": 2})
    assert [crew.push(1, name).status_code for name in ("a", "b")] == [202, 200]
    assert crew.fates(1) == {"a": "applied", "b": "applied"}
