"""The marks of a session: what happened to it between steps, in the store beside its history."""

import asyncio
import json
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from httpx2 import Client

from app.marks import LONGEST, MOST_NAMES
from app.store.base import Store
from app.store.memory import MemoryStore
from tests.bodies import encode
from tests.service.calls import SAFETENSORS, W, binary_step, create, patched, serving, stepped

G = {"grads": W["grads"]}


def marks(store: Store, session: str) -> list[dict[str, Any]]:
    """Return the marks of a session without their times."""
    found = [json.loads(mark) for mark in asyncio.run(store.marks(session.rpartition("/")[2]))]
    for mark in found:
        datetime.fromisoformat(mark.pop("time"))
    return found


@pytest.fixture
def store() -> Store:
    return MemoryStore(100)


@pytest.fixture
def client(store: Store) -> Any:
    with serving(store) as client:
        yield client


def test_an_undo_is_marked(client: Client, store: Store) -> None:
    session = create(client, undo=2)
    for _ in range(3):
        stepped(client, session, **W)
    for number in (3, 2):
        assert client.post(f"{session}/undo", json={"step": number}).status_code == 200
    client.post(f"{session}/undo", json={"step": 1})
    assert marks(store, session) == [
        {"event": "undo", "step": 2, "undone": 3},
        {"event": "undo", "step": 1, "undone": 2},
    ]


def test_changed_settings_are_marked_one_by_one(client: Client, store: Store) -> None:
    session = create(client)
    stepped(client, session, **W)
    patched(client, session, hyperparameters={"lr": 0.0005}, clip={"global_norm": 1.0})
    patched(client, session, labels={"run": "mnist-3"}, schedule={"kind": "constant"})
    first, second = marks(store, session)
    changed = {"hyperparameters.lr": [0.001, 0.0005], "clip": [None, {"global_norm": 1.0}]}
    assert first == {"event": "settings", "step": 1, "changed": changed}
    assert second["changed"]["labels"] == [{}, {"run": "mnist-3"}]
    assert second["changed"].keys() == {"labels", "schedule"}


def test_a_change_of_nothing_is_not_marked(client: Client, store: Store) -> None:
    session = create(client)
    patched(client, session)
    patched(client, session, hyperparameters={"lr": 0.001})
    assert marks(store, session) == []


def test_a_long_value_is_marked_as_null(client: Client, store: Store) -> None:
    session = create(client)
    patched(client, session, labels={str(i): "x" * (LONGEST // 10) for i in range(10)})
    assert marks(store, session)[0]["changed"] == {"labels": [{}, None]}


def test_a_loaded_state_and_uploaded_parameters_are_marked(client: Client, store: Store) -> None:
    session = create(client, hold_params=True)
    stepped(client, session, **W)
    state = client.get(f"{session}/state").content
    for _ in range(2):
        stepped(client, session, **G)
    headers = {"content-type": SAFETENSORS}
    assert client.put(f"{session}/state", content=state, headers=headers).is_success
    assert client.put(f"{session}/params", json={"params": W["params"]}).is_success
    assert marks(store, session) == [
        {"event": "settings", "step": 1, "changed": {"step": [3, 1]}},
        {"event": "settings", "step": 1, "changed": {"params": [None, None]}},
    ]


def test_edited_tensors_are_marked_by_their_names(client: Client, store: Store) -> None:
    session = create(client)
    tensors = {name: np.ones(2, np.float32) for name in "abc"}
    binary_step(client, session, tensors, tensors)
    edits = {"rename": {"a": "x"}, "remove": ["b"], "reset": ["c"]}
    assert client.patch(f"{session}/tensors", json=edits).is_success
    assert marks(store, session)[0]["changed"] == {"tensors": [["a", "b", "c"], ["x", "c"]]}


def test_the_names_of_many_edited_tensors_are_cut(client: Client, store: Store) -> None:
    session = create(client)
    tensors = {f"t{i}": np.ones(1, np.float32) for i in range(MOST_NAMES + 5)}
    content = encode({"params": tensors, "grads": tensors}, {})
    client.post(f"{session}/steps", content=content, headers={"content-type": SAFETENSORS})
    assert client.patch(f"{session}/tensors", json={"reset": [*tensors]}).is_success
    first = [f"t{i}" for i in range(MOST_NAMES)]
    assert marks(store, session)[0]["changed"] == {"tensors": [first, first]}


def test_steps_and_forks_leave_no_mark(client: Client, store: Store) -> None:
    session = create(client)
    stepped(client, session, **W)
    patched(client, session, hyperparameters={"lr": 0.5})
    fork = client.post(f"{session}/fork", json={}).json()["id"]
    assert marks(store, fork) == []
    assert len(marks(store, session)) == 1


def test_a_mark_has_the_version_of_its_save_as_number(client: Client, store: Store) -> None:
    session = create(client, undo=1)
    stepped(client, session, **W)
    client.post(f"{session}/undo", json={"step": 1})
    version = int(client.get(session).headers["etag"].strip('"').partition("-")[0])
    numbered = asyncio.run(store.newer(session.rpartition("/")[2], 0, 10))
    assert [(each.number, each.kind) for each in numbered] == [(version - 1, "step"), (version, "undo")]
    assert json.loads(numbered[0].body)["undone"] is True
