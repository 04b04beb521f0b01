"""The competitors without torch, on real servers: each takes exactly the steps that it is timed for."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from benchmarks.agreement import check_agreement
from benchmarks.bare_client import BareClient
from benchmarks.peers.engine import engine
from benchmarks.peers.plain import plain_fastapi
from benchmarks.peers.service import JSON, Service
from benchmarks.peers.session import Session
from optim_engine.arrays import Array
from optim_engine.machine import NUMPY

ALONE = engine(NUMPY, threads=1)
START, GRADS = np.random.default_rng(0).standard_normal((2, 5000), np.float32)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    server = Service("memory:", tmp_path / "log", threads=1)
    server.launch()
    server.wait_until_ready()
    yield server
    server.kill()


def after(steps: int, sessions: dict[str, Session]) -> dict[str, Array]:
    with ExitStack() as stack:
        entered = {name: stack.enter_context(session(START, GRADS)) for name, session in sessions.items()}
        return {name: [step.read(step.take()).copy() for _ in range(steps)][-1] for name, step in entered.items()}


def test_both_service_clients_get_the_engines_steps(service: Service) -> None:
    check_agreement(after(5, {"engine": ALONE, "bare": service.steps, "python": service.client_steps}), START)


def test_a_replay_repeats_the_first_step(service: Service) -> None:
    once = after(1, {"engine": ALONE})["engine"]
    replayed = after(5, {"replays": service.replays})["replays"]
    check_agreement({"once": once, "replayed": replayed}, START)


def test_both_json_services_compute_the_same_steps(service: Service, redis_url: str) -> None:
    with plain_fastapi(redis_url) as plain:
        check_agreement(after(5, {"service": service.json_steps, **plain}), START)


def test_a_refusal_raises_an_error(service: Service) -> None:
    with BareClient(service.port, 1 << 16) as client, pytest.raises(RuntimeError, match="session_not_found"):
        client.send("GET", "/v1/sessions/none", JSON, b"")
