"""Training loops with a default client during a restart of the service: they wait and continue."""

import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from optim_client import Client

from tests.chaos.trial import Trial
from tests.durability.loop import Loop, running
from tests.durability.processes import ServerProcess, servers


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
    loops = [Loop(), Loop(is_async=True)]
    with caplog.at_level(logging.WARNING, "optim_client"), running(loops, server.url) as training:
        for _ in range(trial.times(quick=1, whole=2)):
            training.wait_for_steps()
            STOPS[signal](server)
            with ThreadPoolExecutor(1) as threads:
                created = threads.submit(create_one, server.url, label := f"{trial.random.random()}")
                time.sleep(away)
                server.start()
                trial.tried[f"restarts, {away} s away each"] += 1
                training.wait_for_steps()
                created.result()
            with Client(server.url) as client:
                assert len(list(client.sessions.find(labels={"run": label}))) == 1
            trial.tried["sessions created meanwhile"] += 1
    waits = [message for message in caplog.messages if message.endswith("; trying again, for 120 s")]
    assert len(waits) == sum(": answered, " in message for message in caplog.messages)
    assert len(waits) >= 3 * trial.tried[f"restarts, {away} s away each"]
    trial.tried["steps"] += sum(loop.steps for loop in loops)


def create_one(url: str, label: str) -> str:
    with Client(url) as client:
        return client.sessions.create("sgd", labels={"run": label}).id
