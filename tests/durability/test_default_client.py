"""Training loops with a default client during a restart of the service: they wait and continue."""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optim_client import AsyncClient, Client

from optim_engine import Config, State, step
from tests.chaos.trial import Trial
from tests.durability.processes import ServerProcess, servers
from tests.durability.twin import bits

SETTINGS: dict[str, Any] = {"lr": 0.01, "schedule": {"kind": "cosine", "total_steps": 10_000}}
START = {"w": np.random.default_rng(0).standard_normal((40, 50), np.float32), "bias": np.zeros(50, np.float32)}

Params = dict[str, np.ndarray]


def gradients(params: Params, number: int) -> Params:
    """Return gradients that depend on the parameters, so that one difference never disappears."""
    draw = np.random.default_rng(number).standard_normal
    return {name: 0.1 * array + draw(array.shape, np.float32) for name, array in params.items()}


class Loop:
    """A training loop that runs until it is told to stop. It handles no failure itself."""

    def __init__(self) -> None:
        self.steps = 0
        self.over = threading.Event()
        self.params = START
        self.id = ""

    def run(self, url: str) -> None:
        with Client(url) as client:
            session = client.sessions.create("adamw", **SETTINGS)
            self.id = session.id
            while not self.over.is_set():
                self.params = session.step(self.params, gradients(self.params, self.steps + 1), loss=0.5)
                self.steps += 1

    def run_async(self, url: str) -> None:
        asyncio.run(self._run_async(url))

    async def _run_async(self, url: str) -> None:
        async with AsyncClient(url) as client:
            session = await client.sessions.create("adamw", **SETTINGS)
            self.id = session.id
            while not self.over.is_set():
                self.params = await session.step(self.params, gradients(self.params, self.steps + 1), loss=0.5)
                self.steps += 1

    def check(self, client: Client) -> None:
        """Compare parameters with a run of the engine alone, and find each step once in the history."""
        config, state, params = (
            Config.parse("adamw", hyperparameters={"lr": 0.01}, schedule=SETTINGS["schedule"]),
            State.empty(),
            START,
        )
        for number in range(1, self.steps + 1):
            outcome = step(config, state, params, gradients(params, number))
            state, params = outcome.state, outcome.params
        assert bits(self.params) == bits(params)
        session = client.sessions.get(self.id, step=self.steps)
        assert [row.step for row in session.history()] == list(range(1, self.steps + 1))


def stop(server: ServerProcess) -> None:
    """Stop the server with SIGTERM, as an operator or a container runtime does."""
    server.terminate()
    server.wait()


STOPS: dict[str, Callable[[ServerProcess], None]] = {"SIGTERM": stop, "SIGKILL": ServerProcess.kill}


@pytest.fixture(scope="module")
def server(store: str, folder: Path) -> Iterator[ServerProcess]:
    with servers([store], folder) as (server,):
        yield server


@pytest.mark.requirement("R17", "R1", "R2")
@pytest.mark.parametrize("signal", STOPS)
def test_a_default_client_survives_a_restart(
    trial: Trial, server: ServerProcess, signal: str, caplog: pytest.LogCaptureFixture
) -> None:
    away = trial.times(quick=1, whole=30)
    loops = [Loop(), Loop()]
    with ThreadPoolExecutor(3) as threads, caplog.at_level(logging.WARNING, "optim_client"):
        runs = [threads.submit(loops[0].run, server.url), threads.submit(loops[1].run_async, server.url)]
        try:
            for _ in range(trial.times(quick=1, whole=2)):
                wait_for_steps(loops, runs)
                STOPS[signal](server)
                created = threads.submit(create_one, server.url, label := f"{trial.random.random()}")
                time.sleep(away)
                server.start()
                trial.tried[f"restarts, {away} s away each"] += 1
                wait_for_steps(loops, runs)
                created.result()
                with Client(server.url) as client:
                    assert len(list(client.sessions.find(labels={"run": label}))) == 1
                trial.tried["sessions created meanwhile"] += 1
        finally:
            for loop in loops:
                loop.over.set()
        for run in runs:
            run.result()
    with Client(server.url) as client:
        for loop in loops:
            loop.check(client)
    waits = [message for message in caplog.messages if message.endswith("; trying again, for 120 s")]
    assert len(waits) == sum(": answered, " in message for message in caplog.messages)
    assert len(waits) >= 3 * trial.tried[f"restarts, {away} s away each"]
    trial.tried["steps"] += sum(loop.steps for loop in loops)


def create_one(url: str, label: str) -> str:
    with Client(url) as client:
        return client.sessions.create("sgd", labels={"run": label}).id


def wait_for_steps(loops: list[Loop], runs: list[Future[None]]) -> None:
    """Wait until each loop has taken five more steps."""
    before = [loop.steps for loop in loops]
    while any(loop.steps < steps + 5 for loop, steps in zip(loops, before, strict=True)):
        for run in runs:
            if run.done():
                run.result()
        time.sleep(0.01)
