"""A service whose steps must be on a replica of Redis before they are answered."""

from collections.abc import Iterator

import pytest
from httpx2 import Client

from tests.servers import RedisServer, Replica
from tests.service.calls import serving

STEP = {"step": 1, "params": {"w": [1.0]}, "grads": {"w": [0.5]}}


@pytest.fixture
def client(own_redis: RedisServer, replica: Replica) -> Iterator[Client]:
    """Return a client of a service that waits for one replica."""
    with serving(store=own_redis.url, redis_replicas=1, store_timeout_seconds=2) as client:
        yield client


@pytest.mark.long
def test_a_step_without_a_replica_is_answered_when_it_returns(client: Client, replica: Replica) -> None:
    session = client.post("/v1/sessions", json={"optimizer": "sgd", "hyperparameters": {"lr": 1.0}}).json()["id"]
    path = f"/v1/sessions/{session}/steps"
    replica.kill()
    for _ in range(2):  # the second one finds the step done, and may not answer it yet
        refusal = client.post(path, json=STEP)
        assert (refusal.status_code, refusal.json()["code"]) == (503, "store_unavailable")
        assert "only 0 of 1 replicas" in refusal.json()["detail"]
    replica.start().follow()
    answer = client.post(path, json=STEP)
    assert (answer.status_code, answer.json()["params"]) == (200, {"w": [0.5]})
    assert answer.headers["idempotent-replayed"] == "true"


@pytest.mark.long
def test_a_creation_without_a_replica_is_answered_when_it_returns(client: Client, replica: Replica) -> None:
    replica.kill()
    creation = {"json": {"optimizer": "sgd"}, "headers": {"Idempotency-Key": "key"}}
    for _ in range(2):
        assert client.post("/v1/sessions", **creation).status_code == 503
    replica.start().follow()
    assert client.post("/v1/sessions", **creation).status_code == 201
    assert len(client.get("/v1/sessions").json()["sessions"]) == 1


def test_readiness_names_the_replicas(client: Client) -> None:
    ready = client.get("/readyz").json()
    assert ready["replicas"] == 1
    assert ready["durability"] == "an answered step survives a power cut; 1 replicas have each answered step"
