"""Alive, ready, counted."""

from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from httpx2 import Client

from app.errors import StoreUnavailable
from app.store.memory import MemoryStore
from tests.service.calls import W, binary_step, create, problem, serving, step, stepped


class AwayStore(MemoryStore):
    """A store that stops to answer."""

    away = False

    async def ping(self) -> None:
        if self.away:
            raise StoreUnavailable("nobody answers")


def test_alive_checks_nothing_and_ready_asks_the_store() -> None:
    store = AwayStore(10)
    with serving(store) as client:
        for away in (False, True):
            store.away = away
            assert client.get("/livez").json() == {"status": "alive"}
            ready = client.get("/readyz")
            if away:
                problem(ready, 503, "store_unavailable")
                assert ready.headers["retry-after"] == "1"
            else:
                assert ready.status_code == 200


def test_ready_says_which_store_which_kernel_and_which_version(tmp_path: Path) -> None:
    with serving(store=f"lmdb:{tmp_path}") as client:
        assert client.get("/readyz").json() == {
            "status": "ready", "store": "lmdb", "replicas": 0, "durability": "an answered step survives a power cut",
            "kernel": "numba", "version": version("optim-service"),
        }  # fmt: skip


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/openapi.json", "/docs"])
def test_health_and_pages_need_no_key(path: str, tmp_path: Path) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text('{"keys": []}')
    with serving(api_keys_file=keys) as client:
        assert client.get(path).status_code == 200


def sample(client: Client, line: str) -> float:
    """The value of a metric, by its name and labels."""
    answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    found = [text.rpartition(" ")[2] for text in answer.text.splitlines() if text.rpartition(" ")[0] == line]
    return float(found[0]) if found else 0.0


def test_requests_are_counted_by_method_route_and_status(client: Client) -> None:
    session = create(client)
    for _ in range(3):
        client.get(session)
    client.get("/v1/sessions/none")
    client.get("/nowhere")
    route = "/v1/sessions/{session_id}"
    requests = 'optim_requests_total{{method="{}",route="{}",status="{}"}}'
    assert sample(client, requests.format("POST", "/v1/sessions", 201)) == 1
    assert sample(client, requests.format("GET", route, 200)) == 3
    assert sample(client, requests.format("GET", route, 404)) == 1
    assert sample(client, requests.format("GET", "none", 404)) == 1
    assert sample(client, f'optim_request_seconds_count{{route="{route}"}}') == 4
    assert sample(client, f'optim_request_seconds_bucket{{le="+Inf",route="{route}"}}') == 4
    assert sample(client, f'optim_request_seconds_sum{{route="{route}"}}') > 0


def test_steps_are_counted_by_what_became_of_them(client: Client) -> None:
    session = create(client, on_non_finite="skip")
    stepped(client, session, **W, step=1)
    stepped(client, session, **W, step=1)
    stepped(client, session, **W, step=2)
    binary_step(client, session, {"w": np.float32([np.nan, 0])}, {"w": np.float32([1, 2])})
    step(client, session, **W, step=9)
    counted = [sample(client, f'optim_steps_total{{outcome="{name}"}}') for name in ("applied", "replayed", "skipped")]
    assert counted == [2, 1, 1]


def test_each_service_counts_for_itself(client: Client) -> None:
    create(client)
    with serving() as other:
        assert sample(other, 'optim_requests_total{method="POST",route="/v1/sessions",status="201"}') == 0
