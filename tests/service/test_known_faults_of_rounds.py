"""The faults of other services for many workers, each of which must not be here."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Client

from app.main import create_app
from app.settings import Settings
from app.store import open_store
from app.store.memory import MemoryStore
from tests.service.calls import problem, running
from tests.service.crew import PARAMS, Crew
from tests.stores import DURABLE, STORES
from tests.web.sockets import listening

PLAIN: dict[str, Any] = {"optimizer": "sgd", "hyperparameters": {"lr": 1.0}}
"""With it, the first step subtracts the mean."""


def crew_of(client: Client, *names: str, **workers: Any) -> Crew:
    """Return a session whose round closes with all of them, unless the settings say otherwise."""
    return Crew(client, *names, settings=PLAIN, **{"quorum": len(names), **workers})


def moved(crew: Crew) -> list[float]:
    """Return what the first round has subtracted from `w`."""
    assert crew.client.get(crew.session).json()["step"] == 1
    return [before - after for before, after in zip(PARAMS["w"], crew.params()["w"], strict=True)]


def test_a_round_with_a_dead_worker_closes_by_itself() -> None:
    """Elsewhere the cutoff is looked at when the next result arrives, which is never."""
    store = MemoryStore(10)
    with (
        listening(create_app(Settings(store="memory:"), store)) as (_, port),
        Client(base_url=f"http://127.0.0.1:{port}") as client,
    ):
        crew = crew_of(client, "a", "dead", quorum=1, deadline_seconds=0.2, grace_seconds=9)
        assert crew.push(1, "a").status_code == 202
        asyncio.run(until_stepped(store, crew.session.rpartition("/")[2]))


async def until_stepped(store: MemoryStore, session_id: str) -> None:
    """Look at the store alone until the session has stepped."""
    until = time.monotonic() + 30
    while b'"step":1' not in (head := await store.load(session_id)).document:
        assert time.monotonic() < until, head
        await asyncio.sleep(0.01)


def test_a_late_gradient_is_refused_and_recorded(client: Client) -> None:
    """Elsewhere it is dropped without a word."""
    crew = crew_of(client, "a", "b", quorum=1)
    crew.push(1, "a")
    crew.close(1)
    problem(crew.push(1, "b"), 409, "round_closed")
    assert crew.fates(1) == {"a": "applied", "b": "late"}


def test_a_repeated_push_counts_once(client: Client) -> None:
    """Elsewhere a retry moves the counter of pushes, and the round closes without the others."""
    crew = crew_of(client, "a", "b")
    for _ in range(3):
        assert crew.push(1, "a").json()["have"] == 1


def test_weights_are_divided_by_their_sum(client: Client) -> None:
    """Elsewhere the weighted sum is divided by the number of workers."""
    crew = crew_of(client, "a", "b")
    crew.push(1, "a", {"w": [1.0, 0.0, 4.0]}, weight=3)
    crew.push(1, "b", {"w": [0.0, 8.0, 4.0]}, weight=1)
    assert moved(crew) == [0.75, 2.0, 4.0]


def test_sums_of_unequal_batches_become_the_mean_of_all(client: Client) -> None:
    """Elsewhere it is the mean of each batch's mean, in which a small batch counts as much as a large one."""
    crew = crew_of(client, "a", "b", aggregate="mean_of_sums")
    crew.push(1, "a", {"w": [7.0, 14.0, 0.0]}, weight=7)
    crew.push(1, "b", {"w": [9.0, 2.0, 8.0]}, weight=1)
    assert moved(crew) == [2.0, 2.0, 1.0]


def test_tensors_are_known_by_their_names(client: Client) -> None:
    """Elsewhere the first gradient is that of the first tensor, whatever its name."""
    crew = crew_of(client, "a", "b")
    crew.push(1, "a", {"b": [1.0], "w": [3.0, 4.0, 5.0]})
    crew.push(1, "b", {"w": [5.0, 4.0, 3.0]})
    assert moved(crew) == [4.0, 4.0, 4.0]
    assert crew.params()["b"] == [0.0]


@pytest.mark.parametrize("store", DURABLE)
def test_an_accepted_push_outlives_its_process(store: str, redis_url: str, tmp_path: Path) -> None:
    """Elsewhere it was in memory alone."""
    settings = Settings(store=STORES[store](tmp_path, lambda: redis_url))
    with running(create_app(settings, open_store(settings))) as client:
        crew = crew_of(client, "a", "b")
        crew.push(1, "a", {"w": [1.0, 2.0, 3.0]})
    with running(create_app(settings, open_store(settings))) as crew.client:
        crew.push(1, "b", {"w": [3.0, 2.0, 1.0]})
        assert moved(crew) == [2.0, 2.0, 2.0]
