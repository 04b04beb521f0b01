"""The asynchronous mode, on each store: each contribution is one step, with the answer of a step."""

from collections.abc import Iterator

import pytest
from httpx2 import Client

from tests.service.calls import create, patched, problem, serving, stepped
from tests.service.crew import GRADS, PARAMS, Crew
from tests.service.test_openapi import OPERATIONS, check_answer


@pytest.fixture
def client(store_url: str) -> Iterator[Client]:
    with serving(store=store_url) as client:
        yield client


def plain(client: Client, **settings: object) -> str:
    session = create(client, hold_params=True, **settings)
    client.put(f"{session}/params", json={"params": PARAMS})
    return session


def test_a_contribution_is_the_plain_step(client: Client) -> None:
    crew, session = Crew(client, "a", "b", mode="async"), plain(client)
    for base, (name, seq) in enumerate([("a", 1), ("b", 1), ("a", 5)]):
        answer = crew.step(name, seq, base)
        check_answer(OPERATIONS["contributeAsync"][2], answer)
        step = stepped(client, session, grads=GRADS)
        assert answer.json() == step | {"digest": answer.json()["digest"], "staleness": 0}
    assert crew.fates(2) == {"b": "applied"}
    assert crew.params() == client.get(f"{session}/params").json()["params"]


def test_a_number_sent_again_has_the_same_answer(client: Client) -> None:
    crew = Crew(client, "a", "b", mode="async")
    first = crew.step("a", 1, 0, key="k")
    for key in ("k", None):
        again = crew.step("a", 1, 0, key=key)
        assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    problem(crew.step("a", 1, 0, {"w": [0.0, 0.0, 1.0]}), 422, "contribution_mismatch")
    problem(crew.step("a", 2, 1, key="k"), 422, "idempotency_mismatch")
    crew.join("a")
    assert crew.step("b", 1, 0).json()["staleness"] == 1
    later = crew.step("a", 1, 0)
    check_answer(OPERATIONS["contributeAsync"][2], later)
    for member in ("step", "digest", "metrics", "staleness"):
        assert later.json()[member] == first.json()[member]
    assert "params" not in later.json()
    crew.step("a", 4, 2)
    assert problem(crew.step("a", 1, 0), 409, "step_conflict")["applied_as_step"] == 1


def test_a_contribution_is_known_after_its_worker_left(client: Client) -> None:
    crew = Crew(client, "a", mode="async")
    first = crew.step("a", 1, 0)
    for _ in range(2):
        assert client.delete(f"{crew.session}/workers/a").status_code == 204
    assert client.get(f"{crew.session}/workers").json() == {"workers": []}
    problem(crew.step("a", 2, 1), 409, "worker_fenced")
    crew.join("a")
    again = crew.step("a", 1, 0)
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    assert crew.step("a", 2, 1).json()["step"] == 2


@pytest.mark.parametrize("others", [0, 1])
def test_an_undone_contribution_is_a_new_one(client: Client, others: int) -> None:
    crew = Crew(client, "a", "b", settings={"undo": 1}, mode="async")
    crew.step("a", 1, 0)
    patched(client, crew.session, workers=None)
    assert client.post(f"{crew.session}/undo", json={"step": 1}).status_code == 200
    patched(client, crew.session, workers={"mode": "async"})
    for seq in range(others):
        crew.step("b", seq + 1, 0)
    again = crew.step("a", 1, 0)
    assert (again.json()["step"], "idempotent-replayed" in again.headers) == (1 + others, False)
    assert crew.params() == again.json()["params"]
    assert crew.fates(1 + others) == {"a": "applied"}


def test_a_stale_contribution_counts_less_or_not_at_all(client: Client) -> None:
    groups = [{"match": ["b"], "lr": 0.01}]
    settings = {"optimizer": "sgd", "hyperparameters": {"lr": 0.1}, "groups": groups}
    crew = Crew(client, "a", "b", settings=settings, mode="async", max_staleness=3, staleness="scale")
    session = plain(client, **settings)
    for seq in (1, 2, 3):
        crew.step("a", seq, seq - 1)
        stepped(client, session, grads=GRADS)
    late = crew.step("b", 1, 0)
    half = {"lr": 0.05, "groups": {"0": {"lr": 0.005}}}
    assert late.json()["params"] == stepped(client, session, grads=GRADS, overrides=half)["params"]
    assert (late.json()["staleness"], late.json()["metrics"]["lr"]) == (3, 0.05)
    refused = problem(crew.step("b", 2, 0), 409, "stale")
    assert (refused["staleness"], refused["current_step"]) == (4, 4)
    patched(client, crew.session, workers={"max_staleness": 8})
    crew.step("a", 4, 4)
    assert crew.fates(5) == {"a": "applied", "b": "stale"}


@pytest.mark.parametrize("policy", ["reject", "skip"])
def test_a_contribution_that_is_not_finite_leaves_its_number_free(client: Client, policy: str) -> None:
    crew = Crew(client, "a", settings={"on_non_finite": policy}, mode="async")
    answer = crew.step("a", 1, 0, {"w": [0.0, "NaN", 1.0]})
    if policy == "reject":
        assert problem(answer, 422, "non_finite")["tensor"] == "w"
    else:
        assert (answer.status_code, answer.json()["skipped"], answer.json()["step"]) == (200, True, 0)
        again = crew.step("a", 1, 0, {"w": [0.0, "NaN", 1.0]})
        assert (again.content, again.headers["idempotent-replayed"]) == (answer.content, "true")
        assert client.get(crew.session).json()["skipped_steps"] == 1
    assert crew.step("a", 1, 0).json()["step"] == 1
    dropped = [row.get("contributions") for row in client.get(f"{crew.session}/history").json()["history"]]
    assert sum(entry.get("reason") == "non_finite" for entries in dropped for entry in entries) == 1


def test_the_modes_refuse_each_others_contributions(client: Client) -> None:
    problem(Crew(client, "a", mode="async").push(1, "a"), 409, "workers_only")
    crew = Crew(client, "a")
    problem(crew.step("a", 1, 0), 409, "workers_only")
    patched(client, crew.session, workers={"mode": "async"})
    assert problem(crew.step("a", 1, None), 400, "malformed_body")["detail"].startswith("`base_step`")  # type: ignore[arg-type]
    assert crew.step("a", 1, 0).status_code == 200


def test_a_skipped_step_hides_no_applied_one(client: Client) -> None:
    crew = Crew(client, "a", "b", settings={"on_non_finite": "skip"}, mode="async")
    first = crew.step("a", 1, 0).json()
    crew.step("b", 1, 1, {"w": [0.0, "NaN", 1.0]})
    assert crew.fates(1) == {"a": "applied"}
    crew.step("b", 1, 1)
    assert crew.step("a", 1, 0).json()["metrics"] == first["metrics"]
