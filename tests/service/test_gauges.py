"""The metrics of the service's parts, as `/metrics` shows them."""

import re
from importlib.metadata import version
from pathlib import Path

from httpx2 import Client

from tests.service.calls import create, serving, step
from tests.service.test_auth import keys_file

__all__ = ["keys_file"]


def value(client: Client, name: str, **headers: str) -> float:
    """Return the value of a metric, named with its labels."""
    found = re.search(rf"^{re.escape(name)} (.*)$", client.get("/metrics", headers=headers).text, re.MULTILINE)
    assert found, name
    return float(found[1])


def test_sessions_in_memory_are_shown_with_their_lookups(client: Client) -> None:
    assert value(client, "optim_cache_sessions") == 0
    session = create(client)
    for i in range(3):
        step(client, session, params={"w": [1.0]}, grads={"w": [0.5]}, step=i + 1)
    assert value(client, "optim_cache_sessions") == 1
    assert 0 < value(client, "optim_cache_bytes") < value(client, "optim_cache_limit_bytes")
    hits = value(client, 'optim_cache_lookups_total{outcome="hit"}')
    assert (hits, value(client, 'optim_cache_lookups_total{outcome="miss"}')) == (2, 1)  # the first step finds no state


def test_a_state_from_the_store_is_a_miss() -> None:
    with serving(state_cache_bytes=0) as client:
        session = create(client)
        step(client, session, params={"w": [1.0]}, grads={"w": [0.5]})
        assert value(client, 'optim_cache_lookups_total{outcome="miss"}') == 1


def test_the_build_and_the_limits_are_shown(client: Client) -> None:
    page = client.get("/metrics").text
    assert f'store="memory",version="{version("optim-service")}"}} 1.0' in page
    assert value(client, "optim_places") == 256
    assert value(client, "optim_places_taken") == value(client, "optim_places_waiting") == 0
    assert value(client, "optim_compute_threads") >= 1
    assert value(client, "optim_event_streams") == value(client, "optim_compute_calls") == 0


def test_the_calls_of_steps_to_the_store_are_counted(client: Client) -> None:
    session = create(client)
    step(client, session, params={"w": [1.0]}, grads={"w": [0.5]})
    assert value(client, 'optim_store_seconds_count{verb="save"}') == 2
    assert value(client, 'optim_store_errors_total{verb="save"}') == value(client, "optim_store_conflicts_total") == 0
    assert value(client, "optim_store_sessions") == 1


def test_valid_keys_are_counted_by_role(keys_file: Path) -> None:
    keys_file.write_text(keys_file.read_text().replace('"role": "read"', '"role": "admin"'))
    with serving(api_keys_file=keys_file) as client:
        key = {"authorization": "Bearer lab-reads"}
        counts = {role: value(client, f'optim_keys{{role="{role}"}}', **key) for role in ("read", "write", "admin")}
        assert counts == {"read": 0, "write": 3, "admin": 1}


def test_a_store_shows_the_metrics_of_its_kind(tmp_path: Path) -> None:
    with serving(store=f"lmdb:{tmp_path}/store") as client:
        create(client)
        assert value(client, "optim_commit_jobs_count") >= 1
        assert value(client, "optim_commit_waiting") == 0
        assert 0 < value(client, "optim_store_bytes") < value(client, "optim_store_limit_bytes")
        assert value(client, "optim_store_free_bytes") > 0
