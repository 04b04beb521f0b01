"""The command `optim sessions history`, as it is typed."""

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from optim_client import Client, Session

from app.commands.following import HEAD
from tests.command import Optim

ONE = {"w": np.ones(1, "f4")}
NAMES = [
    "step", "loss", "lr", "grad_norm", "update_norm", "param_norm", "clip_scale", "duration_ms", "time", "skipped",
    "undone",
]  # fmt: skip


@pytest.fixture(scope="module")
def session(url: str) -> Iterator[Session]:
    with Client(url) as client:
        session = client.sessions.create("sgd")
        session.step(ONE, ONE)
        for number in range(2, 41):
            session.step(ONE, ONE, loss=1 / number)
        yield session


@pytest.mark.long
def test_a_history_is_a_table(optim: Optim, session: Session, url: str) -> None:
    status, told, said = optim("sessions", "history", session.id, OPTIM_BASE_URL=url)
    assert (status, said) == (0, "")
    head, *lines = told.splitlines()
    assert head == HEAD
    assert [int(line.split()[0]) for line in lines] == list(range(1, 41))


def test_csv_has_every_column(optim: Optim, session: Session, url: str) -> None:
    status, told, _ = optim("sessions", "history", session.id, "--csv", "-", OPTIM_BASE_URL=url)
    rows = list(csv.DictReader(io.StringIO(told)))
    assert status == 0
    assert list(rows[0]) == NAMES
    assert (rows[0]["loss"], rows[1]["loss"], rows[1]["skipped"]) == ("", "0.5", "False")
    assert [float(row["grad_norm"]) for row in rows] == session.history().grad_norm.tolist()


def test_csv_goes_into_a_file(optim: Optim, session: Session, url: str, tmp_path: Path) -> None:
    into = tmp_path / "run.csv"
    assert optim("sessions", "history", session.id, "--csv", str(into), OPTIM_BASE_URL=url) == (0, "", "")
    assert len(into.read_text().splitlines()) == 41


def test_points_thin_what_is_printed(optim: Optim, session: Session, url: str) -> None:
    status, told, _ = optim("sessions", "history", session.id, "--points", "10", "--json", OPTIM_BASE_URL=url)
    steps = [row["step"] for row in json.loads(told)["history"]]
    assert status == 0
    assert steps[0] == 1
    assert steps[-1] == 40
    assert len(steps) <= 15


def test_csv_and_json_do_not_mix(optim: Optim, session: Session, url: str) -> None:
    status, told, said = optim("sessions", "history", session.id, "--csv", "-", "--json", OPTIM_BASE_URL=url)
    assert (status, told) == (2, "")
    assert "cannot both be on standard output" in " ".join(said.split())
