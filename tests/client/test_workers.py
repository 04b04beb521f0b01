"""Workers: they join, contribute, lose answers, and leave."""

import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import numpy as np
import pytest
from optim_client import APIConnectionError, Client, Contribution, NoQuorum, WorkerFenced
from optim_client._tensors import Arrays
from optim_client.compress import TopKFeedback

from app.demo.server import Server
from tests.client import contributing
from tests.client.conftest import Connect
from tests.client.documents import SESSION, W, stepped
from tests.client.scripted import BUSY, DROP, Answer, ScriptedServer, session_of
from tests.client.test_heart import beating, until

WORKERS = {"mode": "rounds", "expected": 2, "lease_seconds": 30}
SESSION_BODY = json.dumps({**SESSION, "hold_params": True, "workers": WORKERS}).encode()
FOUND = Answer(body=SESSION_BODY)
JOINED = Answer(201, b'{"worker": "gpu-3", "epoch": 7, "round": 42, "step": 41}')
APPLIED = Answer(body=bytes(stepped(W, step=42).body), headers={"Content-Type": "application/vnd.safetensors"})
FENCED = Answer(409, b'{"code": "worker_fenced", "detail": "another process has joined"}', {"X-Should-Retry": "false"})
LEFT = Answer(204)
G = {"w": np.float32([3, 4])}


class Downloads(httpx2.HTTPTransport):
    """A transport that keeps the statuses of the answers that have the parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.statuses: list[int] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        response = super().handle_request(request)
        if request.method == "GET" and request.url.path.endswith("/params"):
            self.statuses.append(response.status_code)
        return response


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


def team_of(client: Any, **workers: Any) -> Any:
    """Return a session whose parameters are [1, 2], and whose step is the mean of the gradients."""
    session = client.sessions.create("sgd", lr=1.0, hold_params=True, workers=workers)
    session.put_params(W)
    return session


def crew(session: Any, work: Callable[[Any], Any], *names: str) -> list[Any]:
    """Do the work as each of these workers at once, each with a session of its own; return the results."""

    def one(name: str) -> Any:
        with session.client.sessions.get(session.id).worker(name) as worker:
            return work(worker)

    with ThreadPoolExecutor(len(names)) as pool:
        return list(pool.map(one, names))


def grads_of(worker: Any, number: int) -> Arrays:
    return {"w": np.random.default_rng([ord(worker.name), number]).standard_normal(2, np.float32)}


def test_workers_get_the_bits_of_the_step_of_their_mean(server: Server) -> None:
    def work(worker: Any) -> list[bytes]:
        return [worker.contribute(grads_of(worker, i), weight=ord(worker.name))["w"].tobytes() for i in range(5)]

    with Client(server.url) as client:
        a, b = crew(team_of(client, expected=2, quorum=2), work, "a", "b")
        alone = team_of(client)
        with alone.worker("c") as worker:
            one = []
            for i in range(5):
                g = [np.float64(grads_of(SimpleNamespace(name=name), i)["w"]) for name in "ab"]
                mean = (97 * g[0] + 98 * g[1]) / (97 + 98)
                one.append(worker.contribute({"w": mean.astype(np.float32)})["w"].tobytes())
    assert a == b == one


def test_a_late_worker_goes_on_from_the_newest_parameters(client: Any) -> None:
    session = team_of(client)
    with session.worker("late") as late, session.worker("early") as early:
        early.contribute(G)
        assert late.contribute(G)["w"].tolist() == [-2, -2]
        assert (late.contribution.reason, late.round) == ("late", 2)
        assert late.contribute(G)["w"].tolist() == [-5, -6]
        assert late.contribution.applied
        assert [each.worker for each in session.workers()] == ["early", "late"]
    assert [(each.worker, each.fate, each.reason) for each in session.round(1).contributions] == [
        ("early", "applied", None),
        ("late", "dropped", "late"),
    ]
    assert session.history()[0].contributions == session.round(1).contributions
    assert session.workers() == []


def test_a_round_is_closed_by_hand_and_waits_for_nobody(client: Any) -> None:
    session = team_of(client, expected=2, quorum=1, grace_seconds=600)
    with session.worker("a") as worker, pytest.raises(NoQuorum):
        session.close_round(worker.round)
    assert session.round(1).need == 1


def test_a_skipped_contribution_keeps_no_loop_waiting(client: Any) -> None:
    session = client.sessions.create("sgd", lr=1.0, hold_params=True, on_non_finite="skip", workers={})
    session.put_params(W)
    with session.worker("a") as worker:
        assert worker.contribute({"w": np.float32([np.nan, 1])})["w"].tolist() == [1, 2]
        assert worker.contribution.reason == "non_finite"
        assert worker.contribute(G)["w"].tolist() == [-2, -2]


def test_a_lease_is_renewed_while_a_worker_computes(server: Server) -> None:
    with Client(server.url) as client:
        session = team_of(client, lease_seconds=0.5)
        with session.worker("a"):
            [before] = session.workers()
            until(lambda: session.workers()[0].lease_expires_at > before.lease_expires_at + timedelta(seconds=0.3))


@pytest.mark.parametrize("way", ["other gradients", "the packet"])
def test_a_killed_worker_joins_again_and_counts_once(server: Server, tmp_path: Path, way: str) -> None:
    with Client(server.url) as client, ThreadPoolExecutor(1) as pool:
        session = team_of(client, expected=2, quorum=2)
        command = [sys.executable, "-m", "tests.client.contributing", server.url, session.id, str(tmp_path)]
        assert subprocess.run(command, timeout=60, check=False).returncode == -signal.SIGKILL
        feedback = TopKFeedback.load(tmp_path / "feedback")
        assert feedback.pending
        grads, options = (G, {}) if way == "other gradients" else (feedback.pending.grads, feedback.pending.options)

        def again() -> tuple[Arrays, Contribution]:
            with client.sessions.get(session.id).worker(contributing.NAME) as worker:
                return worker.contribute(grads, **options), worker.contribution

        back = pool.submit(again)
        until(lambda: session.workers()[0].epoch == 2)
        [mate] = crew(session, lambda worker: worker.contribute({"w": np.float32([2, 2])}), "mate")
        params, contribution = back.result()
        feedback.acknowledge(contribution.applied)
        assert params["w"].tolist() == mate["w"].tolist() == [1 - 6, 2 - np.float32(2 / 3)]
        assert [(each.worker, each.fate) for each in session.round(1).contributions] == [
            ("gpu-3", "applied"), ("mate", "applied")
        ]  # fmt: skip
        assert (contribution.applied, feedback.step) == ((True, 1) if way == "the packet" else (False, 0))


@pytest.mark.usefixtures("_short_waits")
@pytest.mark.long
def test_a_service_that_is_killed_while_workers_wait_loses_nothing() -> None:
    with Server() as mortal, Client(mortal.url) as client, ThreadPoolExecutor(1) as pool:
        session = team_of(client, expected=2, quorum=2)
        waiting = pool.submit(crew, session, lambda worker: worker.contribute(G, weight=3), "a")
        until(lambda: session.round(1).have == 1)
        mortal.kill()
        mortal.start()
        [late] = crew(session, lambda worker: worker.contribute({"w": np.float32([7, 8])}), "b")
        [[early]] = [waiting.result()]
        assert early["w"].tolist() == late["w"].tolist() == [1 - 4, 2 - 5]
        assert [each.fate for each in session.round(1).contributions] == ["applied", "applied"]


def test_parameters_are_downloaded_once_a_round(server: Server) -> None:
    transport = Downloads()
    with Client(server.url, transport=transport) as client:
        session = team_of(client)
        with session.worker("a") as worker:
            for number in range(3):
                assert worker.params()["w"].tolist() == [1 - 3 * number, 2 - 4 * number]
                worker.contribute(G)
            assert transport.statuses == [200, 304, 304]
            client.sessions.get(session.id).worker("b").join().contribute(G)
            worker.params()
            assert transport.statuses[3:] == [200]


def test_asynchronous_workers_step_by_themselves(client: Any) -> None:
    session = team_of(client, mode="async", max_staleness=1)
    with session.worker("a") as one, session.worker("b") as two:
        assert one.contribute(G)["w"].tolist() == [-2, -2]
        assert two.contribute(G)["w"].tolist() == [-5, -6]
        assert (one.contribution.staleness, two.contribution.staleness) == (0, 1)
        two.contribute(G)
        assert one.contribute(G)["w"].tolist() == [-8, -10]
        assert (one.contribution.reason, one.step) == ("stale", 3)
        assert one.contribute(G)["w"].tolist() == [-11, -14]
        one.join()
        assert one.contribute(G)["w"].tolist() == [-14, -18]
        assert one.contribution.applied


def test_an_interrupt_ends_a_wait_and_leaves_the_contribution_in(server: Server) -> None:
    with Client(server.url) as client, ThreadPoolExecutor(1) as pool:
        session = team_of(client, expected=2, quorum=2)

        def interrupt() -> None:
            until(lambda: session.round(1).have == 1)
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

        once = pool.submit(interrupt)
        with pytest.raises(KeyboardInterrupt), session.worker("a") as worker:
            worker.contribute(G)
        once.result()
        assert (worker.epoch, session.workers(), session.round(1).have) == (None, [], 1)
        assert not beating()
