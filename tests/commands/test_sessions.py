"""The commands `optim sessions` that list, fork, undo and delete, as they are typed."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
from optim_client import Client, Session

from tests.command import Optim

ONE = {"w": np.ones(1, "f4")}


@pytest.fixture
def client(url: str) -> Iterator[Client]:
    with Client(url) as client:
        yield client


@pytest.fixture
def session(client: Client) -> Session:
    session = client.sessions.create("sgd", labels={"run": "a"}, undo=1)
    session.step(ONE, ONE)
    return session


@pytest.mark.long
def test_sessions_are_listed_newest_first(optim: Optim, client: Client, session: Session) -> None:
    newest = client.sessions.create("adamw")
    status, told, said = optim("sessions", "list", "--limit", "2", OPTIM_BASE_URL=client.base_url)
    assert (status, said) == (0, "")
    head, *rows = [line.split() for line in told.splitlines()]
    assert head == ["id", "optimizer", "step", "state", "updated", "labels"]
    assert [row[:3] for row in rows] == [[newest.id, "adamw", "0"], [session.id, "sgd", "1"]]
    assert rows[1][-1] == "run=a"


def test_a_list_takes_labels_and_an_optimizer(optim: Optim, client: Client, session: Session) -> None:
    other = client.sessions.create("lion", labels={"run": session.id, "part": "b"})
    for chosen in (["--label", f"run={session.id}", "--label", "part=b"], ["--optimizer", "lion", "--limit", "1"]):
        status, told, _ = optim("sessions", "list", *chosen, "--json", OPTIM_BASE_URL=client.base_url)
        assert status == 0
        assert [each["id"] for each in json.loads(told)["sessions"]] == [other.id]
    assert optim("sessions", "list", "--label", "run=none") == (0, "", "no such session\n")


@pytest.mark.parametrize(
    ("labels", "reason"),
    [(["run"], "must be NAME=VALUE, such as run=mnist-3, not 'run'"), (["run=a", "run=b"], "run is given twice")],
)
def test_unclear_labels_are_refused(optim: Optim, url: str, labels: list[str], reason: str) -> None:
    given = [word for label in labels for word in ("--label", label)]
    status, told, said = optim("sessions", "list", *given, OPTIM_BASE_URL=url, COLUMNS="200")
    assert (status, told) == (2, "")
    assert reason in said


def test_a_list_follows_the_pages(optim: Optim, client: Client) -> None:
    made = [client.sessions.create("sgd", labels={"many": "yes"}).id for _ in range(103)]
    told = optim("sessions", "list", "--label", "many=yes", OPTIM_BASE_URL=client.base_url)[1]
    assert [line.split()[0] for line in told.splitlines()[1:]] == made[::-1]


def test_a_fork_has_the_state_and_labels(optim: Optim, client: Client, session: Session) -> None:
    status, told, said = optim("sessions", "fork", session.id, OPTIM_BASE_URL=client.base_url)
    assert (status, said) == (0, "")
    same = client.sessions.get(told.strip())
    assert (same.digest, same.info.labels) == (session.digest, {"run": "a"})
    other = json.loads(optim("sessions", "fork", session.id, "--label", "run=b", "--json")[1])
    assert (other["step"], other["labels"]) == (1, {"run": "b"})


def test_an_undo_says_the_step_it_went_back_to(optim: Optim, client: Client, session: Session) -> None:
    told = f"undid step 1 of {session.id}: it is at step 0 again\n"
    assert optim("sessions", "undo", session.id, OPTIM_BASE_URL=client.base_url) == (0, told, "")
    status, told, said = optim("sessions", "undo", session.id)
    assert (status, told, said) == (1, "", f"optim: session {session.id} is at step 0: there is no step to undo\n")


def test_an_undo_beyond_what_is_kept_fails(optim: Optim, client: Client, session: Session) -> None:
    session.step(ONE, ONE)
    assert optim("sessions", "undo", session.id, OPTIM_BASE_URL=client.base_url)[0] == 0
    status, told, said = optim("sessions", "undo", session.id)
    assert (status, told) == (1, "")
    assert "undo_unavailable" in said


def test_sessions_are_deleted_together_or_not_at_all(optim: Optim, client: Client, session: Session) -> None:
    fork = session.fork()
    status, told, said = optim("sessions", "delete", session.id, "f" * 32, OPTIM_BASE_URL=client.base_url)
    assert (status, told) == (3, "")
    assert said.startswith(f"optim: unknown session '{'f' * 32}'")
    assert optim("sessions", "delete", session.id, fork.id, session.id) == (0, "", "")
    assert optim("sessions", "show", session.id)[0] == 3
    assert optim("sessions", "show", fork.id)[0] == 3


@pytest.mark.parametrize(("answer", "status"), [("n", 1), ("y", 0)])
@pytest.mark.long
def test_a_deletion_asks_on_a_terminal(client: Client, session: Session, answer: str, status: int) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "app.cli", "sessions", "delete", session.id[:-1], "--url", client.base_url]
    os.write(ours, f"{answer}\n".encode())
    ended = subprocess.run(command, stdin=theirs, capture_output=True, text=True, check=False)
    os.close(ours)
    os.close(theirs)
    assert ended.returncode == status, ended.stderr
    assert f"{session.id}  sgd, step 1\nDelete it for good? [y/N]" in ended.stdout
    assert (session.id in [each.id for each in client.sessions]) == bool(status)
