"""The command `optim workers`: the open round and the workers of a session, for people and for programs."""

import json
import re
from collections.abc import Iterator

import httpx2
import numpy as np
import pytest
from optim_client import Client, Session
from optim_client.settings import RoundSettings

from tests.command import Optim


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


@pytest.fixture
def session(client: Client) -> Session:
    """Return a session with two workers, whose leases have ended; the first has contributed to round 1."""
    workers: RoundSettings = {"expected": 3, "quorum": 2, "lease_seconds": 0.001}
    session = client.sessions.create("sgd", hold_params=True, workers=workers)
    session.put_params({"w": np.ones(2, np.float32)})
    for name in ("gpu-1", "gpu-2"):
        session.worker(name).join()
    push = {"epoch": 1, "weight": 512, "grads": {"w": [1, 2]}}
    path = f"{client.base_url}/v1/sessions/{session.id}/rounds/1/contributions/gpu-1"
    assert httpx2.put(path, json=push).status_code == 202
    return session


@pytest.mark.long
def test_the_table_shows_the_open_round_and_every_worker(optim: Optim, url: str, session: Session) -> None:
    status, shown, _ = optim("workers", session.id, "--url", url)
    assert status == 0
    told, entry, head, first, second = re.sub(r"\d{4}-\S+ \S+Z", "TIME", shown).splitlines()
    assert told == "round 1 is open: 1 of 3 in, 1 more for the quorum"
    assert entry == "  gpu-1  weight 512  in"
    assert head.split() == ["worker", "epoch", "lease", "last", "contribution", "lateness"]
    assert re.split(" {2,}", first) == ["gpu-1", "1", "ended TIME", "round 1, TIME", "0.0 s"]
    assert re.split(" {2,}", second) == ["gpu-2", "2", "ended TIME", "none", "–"]


def test_the_json_has_the_round_and_the_workers(optim: Optim, url: str, session: Session) -> None:
    found = json.loads(optim("workers", session.id, "--json", "--url", url)[1])
    assert (found["round"]["round"], found["round"]["have"], found["round"]["need"]) == (1, 1, 1)
    assert [(worker["worker"], worker["epoch"], worker["last_round"]) for worker in found["workers"]] == [
        ("gpu-1", 1, 1),
        ("gpu-2", 2, None),
    ]


def test_a_session_without_rounds_says_so(optim: Optim, url: str, client: Client) -> None:
    plain = client.sessions.create("sgd")
    assert optim("workers", plain.id, OPTIM_BASE_URL=url) == (0, "the session has no workers\n", "")
    alone = client.sessions.create("sgd", hold_params=True, workers={"mode": "async"})
    assert optim("workers", alone.id)[1].splitlines() == [
        "mode async: there are no rounds",
        "no worker has joined, or all have left",
    ]
    assert json.loads(optim("workers", alone.id, "--json")[1]) == {"round": None, "workers": []}
