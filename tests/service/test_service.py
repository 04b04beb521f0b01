"""The caller of a route: its role, its tenant and its rate limit."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from httpx2 import Client

from tests.service.calls import problem, serving
from tests.service.test_auth import bearer, row


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """Yield a client of a service that answers a tenant once an hour."""
    file = tmp_path / "keys.json"
    roles = ("read", "write", "admin")
    file.write_text(json.dumps({"keys": [row(role, tenant="lab", role=role) for role in roles]}))
    with serving(api_keys_file=file, rate_limit="1/hour") as client:
        yield client


def test_monitoring_is_never_limited_and_uses_nothing_up(client: Client) -> None:
    for _ in range(3):
        answer = client.get("/metrics", headers=bearer("admin"))
        assert answer.status_code == 200
        assert "ratelimit" not in answer.headers
    assert client.get("/v1/sessions", headers=bearer("admin")).status_code == 200
    problem(client.get("/v1/sessions", headers=bearer("read")), 429, "rate_limited")
    assert client.get("/metrics", headers=bearer("admin")).status_code == 200


def test_a_refused_role_uses_nothing_up(client: Client) -> None:
    for _ in range(3):
        problem(client.post("/v1/sessions", json={"optimizer": "sgd"}, headers=bearer("read")), 403, "forbidden")
        problem(client.get("/metrics", headers=bearer("write")), 403, "forbidden")
    answer = client.get("/v1/sessions", headers=bearer("read"))
    assert answer.status_code == 200
    assert answer.headers["ratelimit"].startswith('"tenant";r=0;')


@pytest.mark.parametrize("role", ["write", "admin"])
def test_a_higher_role_may_do_what_a_lower_one_may(client: Client, role: str) -> None:
    assert client.post("/v1/sessions", json={"optimizer": "sgd"}, headers=bearer(role)).status_code == 201
