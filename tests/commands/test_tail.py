"""The command `optim sessions tail`, as it is typed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from optim_client import Client, Session

from app.commands.following import HEAD
from tests.command import Optim
from tests.reaper import tied

ONE = {"w": np.ones(1, "f4")}


@pytest.fixture
def session(url: str) -> Iterator[Session]:
    with Client(url) as client:
        session = client.sessions.create("sgd", undo=1)
        for loss in (0.5, 0.25, 0.125):
            session.step(ONE, ONE, loss=loss)
        yield session


@pytest.mark.long
def test_the_last_steps_are_lines(optim: Optim, session: Session, url: str) -> None:
    status, told, said = optim("sessions", "tail", session.id[:-1], "-n", "2", OPTIM_BASE_URL=url)
    assert (status, said) == (0, "")
    head, *lines = told.splitlines()
    assert head == HEAD
    assert [line.split()[:3] for line in lines] == [["2", "0.25", "0.001"], ["3", "0.125", "0.001"]]


def test_each_line_is_an_object_for_programs(optim: Optim, session: Session, url: str) -> None:
    told = optim("sessions", "tail", session.id, "--json", OPTIM_BASE_URL=url)[1]
    rows = [json.loads(line) for line in told.splitlines()]
    assert [(row["event"], row["step"], row["loss"]) for row in rows] == [
        ("step", 1, 0.5),
        ("step", 2, 0.25),
        ("step", 3, 0.125),
    ]


@pytest.mark.long
def test_a_follower_prints_until_the_session_is_gone(session: Session, url: str) -> None:
    with following(session, url, "--json") as process:
        assert process.stdout is not None
        lines = (json.loads(line) for line in process.stdout)
        assert next(lines)["step"] == 3
        session.step(ONE, ONE)
        session.undo()
        session.update(lr=0.5)
        step, undo, settings = (next(lines) for _ in range(3))
        assert (step["event"], step["step"]) == ("step", 4)
        assert (undo["event"], undo["step"], undo["undone"]) == ("undo", 3, 4)
        assert (settings["event"], settings["changed"]) == ("settings", {"hyperparameters.lr": [0.001, 0.5]})
        session.delete()
        assert list(lines) == []
        assert process.wait(20) == 0


@pytest.mark.long
def test_ctrl_c_ends_a_follower_without_a_word(session: Session, url: str) -> None:
    with following(session, url) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split() == HEAD.split()
        assert process.stdout.readline().split()[0] == "3"
        process.send_signal(signal.SIGINT)
        told, said = process.communicate(timeout=20)
        assert (process.returncode, told, said.strip()) == (130, "", "")


def following(session: Session, url: str, *more: str) -> "subprocess.Popen[str]":
    """Start to follow a session, with its last step."""
    command = [sys.executable, "-m", "app.cli", "sessions", "tail", session.id, "-n", "1", "-f", "--url", url, *more]
    environment = {**os.environ, "PYTHONWARNINGS": ""}
    return tied(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
