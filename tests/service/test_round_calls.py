"""Rounds as they are read, and closed by hand."""

from collections.abc import Iterator

import pytest
from httpx2 import Client

from tests.service.calls import create, problem, serving
from tests.service.crew import Crew


@pytest.fixture
def client(store_url: str) -> Iterator[Client]:
    with serving(store=store_url) as client:
        yield client


def test_a_close_with_a_key_is_done_once(client: Client) -> None:
    crew = Crew(client, "a", "b", "c", quorum=2)
    crew.push(1, "a")
    refused = problem(crew.close(1), 409, "no_quorum")
    assert (refused["have"], refused["need"]) == (1, 1)
    crew.push(1, "b")
    first = crew.close(1, idempotency_key='"k"')
    again = crew.close(1, idempotency_key='"k"')
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")
    problem(crew.close(1), 409, "round_closed")
    problem(crew.close(2, idempotency_key='"k"'), 422, "idempotency_mismatch")


def test_rounds_are_for_sessions_with_rounds_alone(client: Client) -> None:
    session = create(client, hold_params=True)
    for method, path in (("GET", "/rounds/1"), ("POST", "/rounds/1/close"), ("PUT", "/workers/a")):
        problem(client.request(method, session + path, json={}), 409, "workers_only")
    problem(client.get(f"{session}/rounds/0"), 404, "route_not_found")


def test_a_session_with_workers_has_its_open_round(client: Client) -> None:
    crew = Crew(client, "a", "b", quorum=2)
    crew.push(1, "a")
    read = client.get(crew.session)
    assert read.json()["round"] == {"round": 1, "have": 1, "need": 1, "closes_at": None, "workers": 2}
    crew.push(1, "b")
    assert client.get(crew.session).json()["round"]["round"] == 2
    changed = client.patch(crew.session, json={"workers": None})
    assert "round" not in changed.json()
    assert "round" not in client.get(create(client)).json()


def test_parameters_that_have_not_changed_are_not_sent_again(client: Client) -> None:
    crew = Crew(client, "a")
    answer = client.get(f"{crew.session}/params")
    etag = {"if-none-match": answer.headers["etag"]}
    same = client.get(f"{crew.session}/params", headers=etag)
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", answer.headers["etag"])
    crew.push(1, "a")
    assert client.get(f"{crew.session}/params", headers=etag).json()["params"] == crew.params()
