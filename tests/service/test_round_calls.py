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
