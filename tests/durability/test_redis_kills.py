"""`kill -9` of Redis, alone or with the server: acknowledged steps are in its append-only file."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.amounts import WHOLE
from tests.chaos.trial import Trial
from tests.durability.load import Load
from tests.durability.processes import ServerProcess, servers
from tests.servers import RedisServer

AWAY_SECONDS = 0.5
"""The longest time without Redis, before it loads its data."""
RECOVERED_SECONDS = 2.0
STORE_SECONDS = 30.0
"""`OPTIM_STORE_TIMEOUT_SECONDS`, by default."""


@pytest.fixture(scope="module")
def server(redis: RedisServer, folder: Path) -> Iterator[ServerProcess]:
    with servers([redis.url], folder) as (server,):
        yield server


@pytest.mark.requirement("R3", "R2")
def test_kills_of_redis_lose_no_step(trial: Trial, server: ServerProcess, redis: RedisServer) -> None:
    slowest_recovery = 0.0
    with Load(server.port) as load:
        for _ in range(trial.times(quick=1, whole=20)):
            load.wait_for_a_moment(trial.random)
            redis.kill()
            trial.tried["kills"] += 1
            time.sleep(trial.random.uniform(0, AWAY_SECONDS))
            redis.start()
            back = time.monotonic()
            load.wait_for_each()
            slowest_recovery = max(slowest_recovery, time.monotonic() - back)
    assert not load.unanswered
    assert load.seen["answers 503 store_unavailable"] >= trial.tried["kills"]
    trial.tried["acknowledged steps"] += load.answered
    trial.tried.update(load.seen)
    trial.measured["slowest recovery"] = f"{slowest_recovery:.2f} s"
    trial.measured["slowest answer or refusal"] = f"{load.slowest:.2f} s"
    if WHOLE:
        assert slowest_recovery < RECOVERED_SECONDS
        assert load.slowest < STORE_SECONDS


@pytest.mark.requirement("R3", "R1", "R2")
def test_kills_of_redis_and_server_together_lose_no_step(
    trial: Trial, server: ServerProcess, redis: RedisServer
) -> None:
    with Load(server.port) as load:
        for _ in range(trial.times(quick=1, whole=10)):
            load.wait_for_a_moment(trial.random)
            for victim in trial.random.sample([server, redis], 2):
                victim.kill()
            trial.tried["kills of both"] += 1
            redis.start()
            server.start()
    trial.tried["acknowledged steps"] += load.answered
    trial.tried.update(load.seen)
