"""The sessions of a service: created, listed, found, and followed page by page."""

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from optim_client import IdempotencyMismatch, SessionNotFound

from tests.client.conftest import Connect
from tests.client.documents import SESSION
from tests.client.scripted import Answer, ScriptedServer
from tests.client.training import some_params, train


def test_pages_are_followed_to_the_last(connect: Connect) -> None:
    def page(ids: list[str], cursor: str | None) -> Answer:
        sessions = [{**SESSION, "id": one} for one in ids]
        return Answer(body=json.dumps({"sessions": sessions, "next_cursor": cursor}).encode())

    with ScriptedServer(page(["c", "b"], "x/y"), page([], "z"), page(["a"], None), page(["c"], "b")) as server:
        client = connect(server.url)
        assert [session.id for session in client.sessions] == ["c", "b", "a"]
        first = client.sessions.list(limit=1)
    assert ([session.id for session in first.sessions], first.next_cursor) == (["c"], "b")
    assert [seen.path.partition("?")[2] for seen in server.seen] == ["", "cursor=x%2Fy", "cursor=z", "limit=1"]


def test_sessions_are_listed_page_by_page_newest_first(client: Any) -> None:
    made = [client.sessions.create("sgd", lr=0.1).id for _ in range(3)]
    page = client.sessions.list(limit=2)
    assert [session.id for session in page.sessions] == made[:0:-1]
    older = client.sessions.list(limit=1, cursor=page.next_cursor)
    assert [session.id for session in older.sessions] == made[:1]
    assert [session.id for session in client.sessions][:3] == made[::-1]
    client.sessions.delete(made[0])
    assert made[0] not in [session.id for session in client.sessions]


def test_sessions_are_found_by_label_and_optimizer(client: Any) -> None:
    labels = {"run": f"at 12:30 & later {uuid4()}", "team": str(uuid4())}
    made = [client.sessions.create(name, lr=0.1, labels=labels).id for name in ("sgd", "adamw")]
    client.sessions.create("sgd", lr=0.1, labels={"run": "at 12"})
    assert [session.id for session in client.sessions.find(labels=labels)] == made[::-1]
    assert [session.id for session in client.sessions.find(labels={"team": labels["team"]}, optimizer="sgd")] == made[
        :1
    ]
    page = client.sessions.list(labels={"run": labels["run"]}, optimizer="adamw", limit=1)
    assert [session.id for session in page.sessions] == made[1:]
    assert list(client.sessions.find(labels={"run": "none"})) == []


def test_a_listed_session_has_its_size_and_get_its_tensors(client: Any) -> None:
    labels = {"run": str(uuid4())}
    session = client.sessions.create("adamw", lr=0.01, labels=labels)
    train(session, some_params(), range(1, 2))
    (listed,) = client.sessions.find(labels=labels)
    assert (dict(listed.info.tensors), listed.info.tensor_count) == ({}, len(some_params()))
    assert listed.info.state_bytes > 0
    read = listed.get()
    assert (len(read.tensors), read.tensor_count, read.state_bytes) == (len(some_params()), len(some_params()), None)


def test_a_creation_with_a_key_is_found_again(client: Any) -> None:
    key = f"run-7 {uuid4()}"
    session = client.sessions.create("sgd", lr=0.5, labels={"b": "2", "a": "1"}, idempotency_key=key)
    session.step({"w": np.float32(1)}, {"w": np.float32(1)})
    again = client.sessions.create("sgd", labels={"a": "1", "b": "2"}, lr=0.5, idempotency_key=key)
    assert (again.id, again.info.step) == (session.id, 1)
    again.step({"w": np.float32(0.5)}, {"w": np.float32(1)})
    with pytest.raises(IdempotencyMismatch, match="use a new key"):
        client.sessions.create("sgd", lr=0.25, idempotency_key=key)
    session.delete()
    with pytest.raises(SessionNotFound):
        client.sessions.create("sgd", lr=0.5, labels={"b": "2", "a": "1"}, idempotency_key=key)


def test_a_fork_with_a_key_is_found_again(client: Any) -> None:
    session, key = client.sessions.create("sgd", lr=0.5), str(uuid4())
    fork = session.fork(labels={"trial": "1"}, idempotency_key=key)
    session.step({"w": np.float32(1)}, {"w": np.float32(1)})
    assert session.fork(labels={"trial": "1"}, idempotency_key=key).id == fork.id
    with pytest.raises(IdempotencyMismatch):
        session.fork(labels={"trial": "2"}, idempotency_key=key)
    assert session.fork(labels={"trial": "1"}).id not in (fork.id, session.id)


def test_a_creation_by_state_with_a_key_is_repeatable(client: Any, tmp_path: Path) -> None:
    session, key = client.sessions.create("sgd", lr=0.5), str(uuid4())
    session.save_state(tmp_path / "state")
    made = [client.sessions.create_from_state(tmp_path / "state", idempotency_key=key).id for _ in range(2)]
    assert made[0] == made[1] != session.id
    session.step({"w": np.float32(1)}, {"w": np.float32(1)})
    session.save_state(tmp_path / "state")
    with pytest.raises(IdempotencyMismatch):
        client.sessions.create_from_state(tmp_path / "state", idempotency_key=key)


@pytest.mark.parametrize("bad", ["", "a" * 256, 'a"b', "a\nb", "schlüssel"])
def test_a_key_that_no_header_carries_is_refused(client: Any, bad: str) -> None:
    with pytest.raises(ValueError, match="idempotency_key must be 1 to 255 printable ASCII characters"):
        client.sessions.create("sgd", idempotency_key=bad)
    with pytest.raises(TypeError, match="idempotency_key must be a string, not 7"):
        client.sessions.create("sgd", idempotency_key=7)
