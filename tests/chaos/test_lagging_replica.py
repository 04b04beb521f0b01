"""A replica that lags is promoted: the client says what is lost, and what is there is whole."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from optim_client import Client, StoreUnavailable

from app.main import create_app
from app.settings import Settings
from app.store import redis_leftovers
from tests.chaos.fault_proxy import Fault, FaultProxy
from tests.chaos.held_run import Run
from tests.chaos.trial import Trial
from tests.servers import RedisServer
from tests.web.sockets import listening

ROWS = {"small": 1, "large": 256}
"""Rows of 1,024 float32: a state of 12 KiB, and one of three pieces, whose replaced ones are left to the next save."""
LEFT_BYTES = 1 << 20
STORE_SECONDS = 10.0


class Pair:
    """A primary and its replica, which follows through `link`; `address` leads to the primary."""

    def __init__(self, folder: Path, link: FaultProxy, address: FaultProxy) -> None:
        self.link, self.address = link, address
        for name in ("a", "b"):
            (folder / name).mkdir()
        self.primary, self.replica = (RedisServer(folder / name, "--repl-diskless-sync-delay", "0") for name in "ab")
        self.primary.start()
        self.follow()

    def follow(self) -> None:
        """Start the replica, and wait until it follows."""
        for proxy in (self.link, self.address):
            proxy.move(self.primary.port)
        with self.replica.start().client() as client:
            client.replicaof("127.0.0.1", self.link.port)
            while client.info("replication").get("master_link_status") != "up":
                time.sleep(0.01)

    def promote(self) -> None:
        """Kill the primary; the replica takes its place, with what it has."""
        self.primary.kill()
        with self.replica.client() as client:
            client.replicaof("no", "one")
        self.address.move(self.replica.port)
        self.primary, self.replica = self.replica, self.primary


@asynccontextmanager
async def pair_of(folder: Path) -> AsyncIterator[Pair]:
    """Lend a primary with its replica."""
    async with FaultProxy(0) as link, FaultProxy(0) as address:
        pair = await asyncio.to_thread(Pair, folder, link, address)
        try:
            yield pair
        finally:
            pair.primary.kill()
            pair.replica.kill()


@contextmanager
def client_of(pair: Pair, **settings: Any) -> Iterator[Client]:
    """Lend a client of a service on the pair."""
    app = create_app(Settings(store=pair.address.redis_url, store_timeout_seconds=STORE_SECONDS, **settings))
    with listening(app) as (_, port), Client(f"http://127.0.0.1:{port}") as client:
        yield client


def lag(trial: Trial, pair: Pair, run: Run) -> None:
    """Let the replica stop to follow at any byte of the next steps."""
    pair.primary.settle()
    pair.link.strike(None)
    run.step()
    while not (nbytes := pair.link.passed["answer"]):
        time.sleep(0.001)
    pair.link.strike(Fault("black hole", "answer", after=trial.random.randrange(2 * nbytes)))


def lose_steps(trial: Trial, pair: Pair, run: Run) -> None:
    lag(trial, pair, run)
    while not pair.link.has_struck:
        run.step()
    for _ in range(trial.random.randint(1, 3)):
        run.step()
    pair.promote()
    lost = run.step_or_lose()
    assert lost > 0
    trial.tried["promotions"] += 1
    trial.tried["lost steps, said by the client"] += lost
    pair.follow()


@pytest.mark.requirement("R20")
@pytest.mark.parametrize("size", ROWS)
async def test_a_promoted_replica_that_lags_is_whole(
    trial: Trial, tmp_path: Path, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_leftovers, "LEFT_BYTES", LEFT_BYTES)

    def train(pair: Pair) -> None:
        with client_of(pair) as client:
            run = Run(client, ROWS[size])
            for _ in range(trial.times(quick=1, whole=20)):
                lose_steps(trial, pair, run)

    async with pair_of(tmp_path) as pair:
        await asyncio.to_thread(train, pair)


def step_on(run: Run) -> None:
    for _ in range(100):
        run.step()


def lose_nothing(trial: Trial, pair: Pair, run: Run) -> None:
    lag(trial, pair, run)
    with pytest.raises(StoreUnavailable):
        step_on(run)
    pair.promote()
    pair.follow()
    trial.tried["promotions"] += 1
    answered = run.known
    while run.known == answered:
        with suppress(StoreUnavailable):
            run.step()
    assert run.session.get().step == run.known


@pytest.mark.requirement("R20")
async def test_a_replica_that_is_waited_for_loses_nothing(trial: Trial, tmp_path: Path) -> None:
    def train(pair: Pair) -> None:
        with client_of(pair, redis_replicas=1) as client:
            run = Run(client.with_options(max_retries=0), ROWS["small"])
            for _ in range(trial.times(quick=1, whole=20)):
                lose_nothing(trial, pair, run)
            trial.tried["acknowledged steps"] += run.known

    async with pair_of(tmp_path) as pair:
        await asyncio.to_thread(train, pair)
