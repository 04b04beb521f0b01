"""The setting `workers`: what it takes, how a change is merged, where it is kept, and which calls it closes."""

from collections.abc import Iterator
from typing import Any

import pytest
from httpx2 import Client

from app.errors import InvalidSession
from app.session import Session
from app.session_document import read_document, write_document
from app.store.base import Head
from app.worker_settings import RoundSettings, check_name
from optim_engine import Config
from tests.bodies import encode
from tests.service.calls import SAFETENSORS, W, create, patched, problem, serving, step, stepped
from tests.service.state_files import session_of

ROUNDS = {
    "mode": "rounds", "expected": 1, "quorum": 1, "deadline_seconds": 60.0, "grace_seconds": 2.0, "aggregate": "mean",
    "max_staleness": 0, "lease_seconds": 30.0,
}  # fmt: skip
ASYNC = {"mode": "async", "max_staleness": 8, "staleness": "reject", "lease_seconds": 30.0}


@pytest.fixture
def client() -> Iterator[Client]:
    with serving() as client:
        yield client


@pytest.mark.parametrize(
    ("given", "effective"),
    [
        ({}, ROUNDS),
        ({"mode": "async"}, ASYNC),
        ({"expected": 8, "quorum": 6, "aggregate": "clipped_mean", "max_norm": 1},
         {**ROUNDS, "expected": 8, "quorum": 6, "aggregate": "clipped_mean", "max_norm": 1.0}),
        ({"aggregate": "trimmed_mean", "trim": 0.25}, {**ROUNDS, "aggregate": "trimmed_mean", "trim": 0.25}),
        (None, None),
    ],
)  # fmt: skip
def test_the_session_answers_every_effective_value(client: Client, given: Any, effective: Any) -> None:
    session = create(client, hold_params=True, workers=given)
    assert client.get(session).json()["workers"] == effective


@pytest.mark.parametrize(
    ("workers", "where"),
    [
        ({"quorum": 2}, "workers.quorum"),
        ({"mode": "turns"}, "workers.mode"),
        ({"mode": "async", "quorum": 1}, "quorum"),
        ({"staleness": "scale"}, "staleness"),
        ({"aggregate": "clipped_mean"}, "workers.max_norm"),
        ({"max_norm": 1.0}, "workers.max_norm"),
        ({"aggregate": "trimmed_mean", "trim": 0.5}, "workers.trim"),
        ({"expected": 1025}, "workers.expected"),
        ({"deadline_seconds": 0}, "workers.deadline_seconds"),
        ({"lease_seconds": 1e9}, "workers.lease_seconds"),
        ([], "workers"),
    ],
)
def test_a_wrong_setting_is_refused_with_its_place(client: Client, workers: Any, where: str) -> None:
    asked = {"optimizer": "sgd", "hold_params": True, "workers": workers}
    refused = problem(client.post("/v1/sessions", json=asked), 422, "invalid_session")
    assert where in refused["where"]


def test_workers_need_a_session_that_holds_parameters(client: Client) -> None:
    refused = problem(client.post("/v1/sessions", json={"optimizer": "sgd", "workers": {}}), 422, "invalid_session")
    assert refused["where"] == "workers"
    problem(client.patch(create(client), json={"workers": {}}), 422, "invalid_session")


def test_a_change_merges_workers_unless_the_mode_changes(client: Client) -> None:
    session = create(client, hold_params=True)
    for change, effective in (
        ({"expected": 4}, {**ROUNDS, "expected": 4}),
        ({"quorum": 3}, {**ROUNDS, "expected": 4, "quorum": 3}),
        ({"expected": None, "quorum": None}, ROUNDS),
        ({"mode": "async", "max_staleness": 2}, {**ASYNC, "max_staleness": 2}),
        ({"staleness": "scale"}, {**ASYNC, "max_staleness": 2, "staleness": "scale"}),
        (None, None),
    ):
        assert patched(client, session, workers=change)["workers"] == effective


def test_the_digest_files_and_forks_know_no_workers(client: Client) -> None:
    session = create(client, hold_params=True)
    stepped(client, session, **W)
    digest, file = client.get(session).json()["digest"], client.get(f"{session}/state").content
    assert patched(client, session, workers={})["digest"] == digest
    about = session_of(client.get(f"{session}/state").content)
    assert "workers" not in about
    assert len(client.get(f"{session}/state").content) == len(file)
    assert client.post(f"{session}/fork", json={}).json()["workers"] is None
    problem(client.post(f"{session}/fork", json={"workers": {}}), 422, "invalid_session")


def test_only_sessions_for_workers_have_documents_of_format_four() -> None:
    """Guards the sessions without: versions that know no workers go on reading them, and refuse the others."""
    plain = Session("id", "tenant", Config.parse("adam", hold_params=True), 1.0, 2.0)
    assert b'"format":2' in write_document(plain)
    assert b"workers" not in write_document(plain)
    for undo in (0, 2):
        with_workers = plain.after(undo=undo, workers=RoundSettings(expected=4, quorum=3))
        written = write_document(with_workers)
        assert b'"format":4' in written
        found = read_document(Head("id", "tenant", 1, "t", written))
        assert (found.undo, found.workers) == (undo, with_workers.workers)


def test_steps_and_edits_are_for_workers_alone(client: Client) -> None:
    session = create(client, hold_params=True, undo=1)
    first = stepped(client, session, "a", **W)
    patched(client, session, workers={})
    before = client.get(session).content
    grads = {"grads": W["grads"]}
    for refused in (
        step(client, session, **grads),
        client.post(f"{session}/undo", json={"step": 1}),
        client.put(f"{session}/params", json={"params": W["params"]}),
        client.put(f"{session}/state", content=client.get(f"{session}/state").content, headers=_FILE),
        client.patch(f"{session}/tensors", json={"reset": ["w"]}),
    ):
        assert problem(refused, 409, "workers_only")
        assert refused.headers["x-should-retry"] == "false"
    assert client.get(session).content == before
    assert client.post(f"{session}/preview", json=grads).status_code == 200
    assert stepped(client, session, "a", **W) == first
    patched(client, session, workers=None)
    assert stepped(client, session, **grads)["step"] == 2


_FILE = {"content-type": SAFETENSORS}


def test_a_session_for_workers_takes_its_first_parameters(client: Client) -> None:
    session = create(client, hold_params=True, workers={})
    params = encode({"params": W["params"]}, {})
    assert client.put(f"{session}/params", content=params, headers=_FILE).status_code == 204
    problem(client.put(f"{session}/params", content=params, headers=_FILE), 409, "workers_only")
    made = create(client, hold_params=True, workers={})
    file = client.get(f"{session}/state").content
    assert client.put(f"{made}/state", content=file, headers=_FILE).is_success
    assert client.get(f"{made}/params").json() == client.get(f"{session}/params").json()


@pytest.mark.parametrize("name", ["gpu-3", "a", "9", "node.1~x:8000@rack_2", "a" * 128])
def test_a_name_may_be_a_segment_of_a_path(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "-a", "a/b", "a b", "é", "a%20", "a\n", "a" * 129])
def test_another_name_is_refused(name: str) -> None:
    with pytest.raises(InvalidSession, match="begins with a letter or a digit"):
        check_name(name)
