"""Workers over HTTP: they join once, renew their leases, and leave."""

from collections.abc import Iterator

import pytest
from httpx2 import Client

from tests.service.calls import problem, serving
from tests.service.crew import Crew


@pytest.fixture
def client(store_url: str) -> Iterator[Client]:
    with serving(store=store_url) as client:
        yield client


def test_a_join_with_a_key_has_one_epoch(client: Client) -> None:
    crew = Crew(client, "a")
    assert crew.join("b", "k") == crew.join("b", "k") == 2
    assert crew.join("b") == 3
    worker = client.put(f"{crew.session}/workers/b", json={"epoch": 3})
    assert (worker.status_code, worker.json()["round"], worker.json()["step"]) == (200, 1, 0)
    problem(client.put(f"{crew.session}/workers/b", json={"epoch": 2}), 409, "worker_fenced")
    problem(client.delete(f"{crew.session}/workers/b?epoch=2"), 409, "worker_fenced")
    assert client.delete(f"{crew.session}/workers/b").status_code == 204
    assert [worker["worker"] for worker in client.get(f"{crew.session}/workers").json()["workers"]] == ["a"]
