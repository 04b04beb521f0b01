"""The run of a bench: every measurement has a value, and no session is left, however it ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from optim_client import Client

from app.bench import run as bench
from app.demo.server import Server
from tests.reaper import tied

INTERRUPTIBLE = """
import signal
from app.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
main()
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Server() as server:
        yield server.url


@pytest.fixture
def smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the large steps small, and the connections few."""
    monkeypatch.setattr(bench, "LARGE", 20_000)
    monkeypatch.setattr(bench, "CONNECTIONS", (1, 2))


@pytest.mark.long
def test_every_measurement_has_a_value(url: str, smaller: None) -> None:
    said: list[str] = []
    results = bench.run(url, 2.0, said.append)
    assert [step.size for step in results.steps] == [1_000, 20_000]
    assert min(min(step.step.p50, step.preview.p50, step.engine.p50) for step in results.steps) > 0
    assert min(min(rates) for rates in results.rates.values()) > 0
    assert said[0] == "steps of 1,000 parameters"
    with Client(url) as client:
        assert list(client.sessions.list().sessions) == []


@pytest.mark.long
def test_a_ctrl_c_deletes_the_sessions(url: str) -> None:
    command = [sys.executable, "-c", INTERRUPTIBLE, "bench", "--url", url, "--seconds", "60"]
    with tied(command, stderr=subprocess.PIPE, text=True, env=os.environ) as program, Client(url) as client:
        assert program.stderr
        assert program.stderr.readline() == "steps of 1,000 parameters …\n"
        assert len(client.sessions.list().sessions) == 17
        program.send_signal(signal.SIGINT)
        program.communicate(timeout=60)
        assert program.returncode == 130
        assert list(client.sessions.list().sessions) == []
