"""Workers: they join, contribute, lose answers, and leave."""

import json
from typing import Any

import numpy as np
import pytest
from optim_client import APIConnectionError, WorkerFenced

from tests.client.conftest import Connect
from tests.client.documents import SESSION, W, stepped
from tests.client.scripted import BUSY, DROP, Answer, ScriptedServer, session_of

WORKERS = {"mode": "rounds", "expected": 2, "lease_seconds": 30}
SESSION_BODY = json.dumps({**SESSION, "hold_params": True, "workers": WORKERS}).encode()
FOUND = Answer(body=SESSION_BODY)
JOINED = Answer(201, b'{"worker": "gpu-3", "epoch": 7, "round": 42, "step": 41}')
APPLIED = Answer(body=bytes(stepped(W, step=42).body), headers={"Content-Type": "application/vnd.safetensors"})
FENCED = Answer(409, b'{"code": "worker_fenced", "detail": "another process has joined"}', {"X-Should-Retry": "false"})
LEFT = Answer(204)
G = {"w": np.float32([3, 4])}


def test_a_worker_joins_contributes_and_leaves(connect: Connect) -> None:
    with ScriptedServer(FOUND, FOUND, JOINED, APPLIED, LEFT) as server:
        session = session_of(connect(server.url))
        with session.worker("gpu-3") as worker:
            assert (worker.name, worker.epoch, worker.round) == ("gpu-3", 7, 42)
            assert worker.contribute(G, weight=2)["w"].tolist() == [1, 2]
            assert (worker.round, session.info.step, session.metrics.lr) == (43, 42, 0.001)
        assert worker.epoch is None
    assert [(each.method, each.path.removeprefix("/v1/sessions/s-1")) for each in server.seen[1:]] == [
        ("GET", ""),
        ("PUT", "/workers/gpu-3"),
        ("PUT", "/rounds/42/contributions/gpu-3"),
        ("DELETE", "/workers/gpu-3?epoch=7"),
    ]


@pytest.mark.usefixtures("_short_waits")
def test_lost_answers_are_asked_for_with_the_same_bytes(connect: Connect) -> None:
    with ScriptedServer(FOUND, FOUND, DROP, JOINED, DROP, BUSY, Answer(504), APPLIED, LEFT) as server:
        with session_of(connect(server.url)).worker("gpu-3") as worker:
            worker.contribute(G, weight=2, loss=0.5)
        joins, pushes = server.seen[2:4], server.seen[4:8]
    assert len({each.headers["idempotency-key"] for each in joins}) == 1
    assert len({(each.path, each.body) for each in pushes}) == 1


def test_a_service_that_is_down_delays_no_leaving_worker(connect: Connect) -> None:
    with ScriptedServer(FOUND, FOUND, JOINED, DROP, DROP) as server:
        client: Any = connect(server.url, max_retries=0)
        with pytest.raises(APIConnectionError), session_of(client).worker("gpu-3") as worker:
            worker.contribute(G)
    assert [each.method for each in server.seen[-2:]] == ["PUT", "DELETE"]


def test_a_fenced_worker_says_so_and_takes_its_place_back(connect: Connect) -> None:
    with ScriptedServer(FOUND, FOUND, JOINED, FENCED, FOUND, JOINED, APPLIED, LEFT) as server:
        worker = session_of(connect(server.url)).worker("gpu-3").join()
        with pytest.raises(WorkerFenced, match="another process has joined"):
            worker.contribute(G)
        assert (worker.contribution.fate, worker.contribution.reason) == ("dropped", "fenced")
        worker.join()
        worker.contribute(G)
        assert worker.contribution.applied
        worker.leave()
