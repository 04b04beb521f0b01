"""The whole run, with a real server that is killed; and the ends of a demo that cannot go on."""

import io
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from optim_client import Client
from rich.console import Console

from app.demo import digits
from app.demo.display import Display
from app.demo.remote import RemoteRun
from app.demo.run import crash
from app.demo.server import Server
from app.demo.training import first_difference
from tests.reaper import tied

STEPS = 60


def test_a_run_with_a_killed_server_equals_the_local_run(temporary: Path) -> None:
    screen = io.StringIO()
    display = Display(Console(file=screen, force_terminal=False), STEPS)
    with Server() as server, Client(server.url) as client:
        run = RemoteRun(client, STEPS, display.show)
        run.until(STEPS // 2)
        crash(run, server, display)
        run.until(STEPS)
        info = run.session.get()
        rows = run.session.history()
    assert first_difference(run.points, digits.load()[0]) is None
    assert (info.step, info.schedule and info.schedule["total_steps"]) == (STEPS, STEPS)
    assert [(row.step, row.loss) for row in rows] == [(point.step, point.loss) for point in run.points]
    assert {name: tensor.group for name, tensor in info.tensors.items() if tensor.group is not None}.keys() == {
        "hidden.bias",
        "output.bias",
    }
    said = re.search(
        r"kill -9 +the server, in the middle of step (\d+): .*\nrestart +[\d.]+ s later step (\d+) is answered",
        screen.getvalue(),
    )
    assert said
    assert said[1] == said[2]


@pytest.mark.long
def test_an_absent_service_is_told_in_one_line() -> None:
    demo = subprocess.run(_command("--url", "http://127.0.0.1:9"), capture_output=True, text=True, check=False)
    assert demo.returncode == 1
    assert re.search(r"\nfailed +GET http://127.0.0.1:9/v1/sessions: no connection .*\n$", demo.stdout)
    assert demo.stderr == ""


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.long
def test_a_stopped_demo_ends_its_server_and_removes_its_folder(signum: signal.Signals, temporary: Path) -> None:
    with tied(_command(), stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        url = next(match[1] for line in demo.stdout if (match := re.search(r" at (http://\S+):", line)))
        demo.send_signal(signum)
        assert demo.stdout.read().endswith("stopped\n")
    assert demo.returncode == 130
    with Client(url) as client:
        assert not client.ready()


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "app.cli", "demo", *arguments]
