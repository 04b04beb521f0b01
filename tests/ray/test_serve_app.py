"""The service on Ray Serve: no step is lost with a replica, sessions stay with their state, and large bodies pass."""

import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import numpy as np
import psutil
import pytest
from optim_client import Client

from deploy.ray.serve_app import application
from tests.ray.service import RayService
from tests.servers import RedisServer

REPLICAS = 2
STEPS, SESSIONS, KILLS = 150, 4, 3


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayService]:
    redis = RedisServer(tmp_path_factory.mktemp("redis")).start()
    try:
        with RayService(redis.url, tmp_path_factory.mktemp("ray"), REPLICAS) as service:
            yield service
    finally:
        redis.kill()


def trained(url: str, seed: int, steps: int = STEPS, size: int = 1000) -> tuple[str, np.ndarray]:
    """Train a session without parameters of its own; return its id and the parameters at its end."""
    grads = np.random.default_rng(seed).standard_normal((7, size), np.float32)
    params = {"w": np.zeros(size, np.float32)}
    with Client(url) as client:
        session = client.sessions.create("adamw", lr=0.01)
        for step in range(steps):
            params = session.step(params, {"w": grads[step % 7]})
        assert client.sessions.get(session.id).info.step == steps
        return session.id, params["w"]


def kill_replicas(service: RayService, times: int) -> None:
    """Kill a replica, wait until Ray has put another in its place, and so on."""
    for _ in range(times):
        time.sleep(1.0)
        victim = psutil.Process(service.replicas()[0])
        victim.kill()
        end = time.monotonic() + 60
        while len(service.replicas()) < REPLICAS and time.monotonic() < end:
            time.sleep(0.2)


def test_sessions_stay_with_one_replica_each(service: RayService) -> None:
    with ThreadPoolExecutor(8) as pool:
        sessions = [session for session, _ in pool.map(lambda seed: trained(service.url, seed, 10), range(8))]
    end = time.monotonic() + 20
    while sum(map(len, service.homes().values())) < 80 and time.monotonic() < end:  # Ray's log lags
        time.sleep(0.2)
    homes = [service.homes()[session] for session in sessions]
    assert [len(home) for home in homes] == [10] * 8
    at_home = sum(Counter(home).most_common(1)[0][1] for home in homes)
    assert at_home >= 72  # a busy replica may lose some; without affinity it would be about 50
    assert {pid for home in homes for pid in home} == set(service.replicas())


def test_killed_replicas_lose_no_step(service: RayService) -> None:
    before = set(service.replicas())
    killing = Thread(target=kill_replicas, args=(service, KILLS))
    with ThreadPoolExecutor(SESSIONS) as pool:
        running = [pool.submit(trained, service.url, seed) for seed in range(SESSIONS)]
        killing.start()
        found = [run.result()[1] for run in running]
    killing.join()
    assert before.isdisjoint(service.replicas())
    for seed, params in enumerate(found):
        np.testing.assert_array_equal(params, trained("memory:", seed)[1])


def test_bodies_of_megabytes_pass_in_both_directions(service: RayService) -> None:
    size = 4 << 20
    np.testing.assert_array_equal(trained(service.url, 0, 2, size)[1], trained("memory:", 0, 2, size)[1])


def test_events_come_as_steps_are_taken(service: RayService) -> None:
    with Client(service.url) as client:
        session = client.sessions.create("sgd", lr=0.1)
        with session.events(after=0) as events:
            for step in (1, 2, 3):
                session.step({"w": np.ones(3)}, {"w": np.ones(3)})
                assert next(events).step == step


@pytest.mark.parametrize(
    ("store", "insecure", "way_out"),
    [
        ("memory:", "true", "take redis://"),
        ("lmdb:/tmp/store", "true", "take redis://"),
        ("redis://127.0.0.1", "false", "set OPTIM_API_KEYS_FILE"),
    ],
)
def test_a_replica_refuses_what_replicas_cannot_have(
    store: str, insecure: str, way_out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTIM_STORE", store)
    monkeypatch.setenv("OPTIM_INSECURE", insecure)
    with pytest.raises(ValueError, match=way_out):
        application()
