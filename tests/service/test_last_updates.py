"""The last update of each tensor, which goes where the state goes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpx2 import Client

from tests.service.calls import SAFETENSORS, binary_step, create, read_binary, serving, stepped
from tests.service.crew import Crew
from tests.service.state_files import download, some_params, train
from tests.service.tensor_norms import health, together, update_norms
from tests.stores import DURABLE, STORES


@pytest.fixture
def client(store_url: str) -> Iterator[Client]:
    with serving(store=store_url) as client:
        yield client


def test_updates_of_a_step_are_together_its_update_norm(client: Client) -> None:
    """Also packed, and in several dtypes and shapes; a tensor that the step does not name keeps its last one."""
    session = create(client, hold_params=True)
    params: Any = some_params() | {f"t{i}": np.ones(i, np.float32) for i in range(50)}
    before: dict[str, float | None] = {}
    for t in range(1, 4):
        grads = {name: np.full_like(θ, t) for name, θ in params.items() if t != 2 or name.startswith("t")}
        answer = binary_step(client, session, grads, params if t == 1 else None)
        after = update_norms(client, session)
        metrics = json.loads(read_binary(answer)[1]["metrics"])
        assert metrics["update_norm"] == together({name: after[name] for name in grads})
        assert all(after[name] == norm for name, norm in before.items() if name not in grads)
        before = after
    assert list(before) == list(client.get(session).json()["tensors"])


def test_a_new_tensor_joins_the_others(client: Client) -> None:
    session = create(client, "sgd", hyperparameters={"lr": 1.0})
    stepped(client, session, params={"b": [0.0]}, grads={"b": [2.0]})
    stepped(client, session, params={"a": [0.0]}, grads={"a": [3.0]})
    assert update_norms(client, session) == {"b": 2.0, "a": 3.0}
    stepped(client, session, params={"b": [0.0]}, grads={"b": [5.0]})
    assert update_norms(client, session) == {"b": 5.0, "a": 3.0}


def test_rows_have_the_norm_of_their_update(client: Client) -> None:
    groups = [{"match": ["emb"], "sparse": "lazy"}]
    session = create(client, "sgd", hyperparameters={"lr": 1.0}, hold_params=True, groups=groups)
    client.put(f"{session}/params", json={"params": {"emb": [[1.0], [1.0], [1.0]]}})
    answer = stepped(client, session, grads={"emb": {"rows": [0, 2], "data": [[3.0], [4.0]]}})
    assert update_norms(client, session) == {"emb": 5.0}
    assert answer["metrics"]["update_norm"] == 5.0
    assert health(client, session)["emb"]["param_norm"] == pytest.approx(np.sqrt(4 + 1 + 9))


def test_a_round_updates_like_the_step_it_is(client: Client) -> None:
    crew = Crew(client, "a", "b")
    crew.push(1, "a")
    step = crew.push(1, "b", wait=25)
    assert step.json()["metrics"]["update_norm"] == together(update_norms(client, crew.session))


def test_skips_previews_and_replays_leave_updates(client: Client) -> None:
    session = create(client, on_non_finite="skip")
    step = {"params": {"w": [1.0, 2.0]}, "grads": {"w": [3.0, 4.0]}}
    stepped(client, session, "key", **step)
    before = update_norms(client, session)
    client.post(f"{session}/preview", json={"params": {"w": [5.0, 2.0]}, "grads": {"w": [1.0, 4.0]}})
    stepped(client, session, "key", **step)
    assert stepped(client, session, params={"w": [1.0, 2.0]}, grads={"w": [None, 4.0]})["skipped"]
    assert update_norms(client, session) == before


def test_an_undo_brings_back_the_updates_before(client: Client) -> None:
    session = create(client, "sgd", undo=2)
    stepped(client, session, params={"w": [1.0], "b": [1.0]}, grads={"w": [3.0], "b": [1.0]})
    before = update_norms(client, session)
    stepped(client, session, params={"w": [1.0], "new": [1.0]}, grads={"w": [5.0], "new": [1.0]})
    assert client.post(f"{session}/undo", json={"step": 2}).status_code == 200
    assert update_norms(client, session) == before


def test_a_fork_has_the_updates_and_an_upload_has_none(client: Client) -> None:
    session = create(client, hold_params=True)
    train(client, session, some_params(), range(1, 3), hold=True)
    before, norms = health(client, session), update_norms(client, session)
    fork = f"/v1/sessions/{client.post(f'{session}/fork', json={}).json()['id']}"
    assert health(client, fork) == before
    file = download(client, session)
    assert client.put(f"{session}/state", content=file, headers={"content-type": SAFETENSORS}).status_code == 204
    unknown = {"update_norm": None, "update_to_weight": None}
    assert health(client, session) == {name: found | unknown for name, found in before.items()}
    assert None not in norms.values()


def test_updates_follow_tensors_that_are_renamed(client: Client) -> None:
    session = create(client, "sgd", hyperparameters={"lr": 1.0}, hold_params=True)
    ones = {name: [1.0] for name in "abcd"}
    stepped(client, session, params=ones, grads={"a": [1.0], "b": [2.0], "c": [3.0], "d": [4.0]})
    edits = {"rename": {"a": "z", "b": "a"}, "remove": ["c"], "reset": ["d"]}
    assert client.patch(f"{session}/tensors", json=edits).status_code == 200
    assert update_norms(client, session) == {"z": 1.0, "a": 2.0, "d": None}


def test_new_parameters_leave_the_updates(client: Client) -> None:
    session = create(client, "sgd", hyperparameters={"lr": 1.0}, hold_params=True)
    stepped(client, session, params={"w": [0.0]}, grads={"w": [2.0]})
    assert client.put(f"{session}/params", json={"params": {"w": [8.0], "a": [1.0]}}).status_code == 204
    found = health(client, session)
    assert (found["w"]["update_norm"], found["w"]["update_to_weight"], found["a"]["update_norm"]) == (2.0, 0.25, None)
    client.patch(session, json={"hyperparameters": {"lr": 0.5}})
    assert health(client, session) == found


@pytest.mark.parametrize("name", DURABLE)
def test_health_is_the_same_after_a_restart(name: str, tmp_path: Path, redis_url: str) -> None:
    url = STORES[name](tmp_path, lambda: redis_url)
    with serving(store=url) as client:
        session = create(client, hold_params=True)
        train(client, session, some_params(), range(1, 4), hold=True)
        before = client.get(f"{session}/tensors").content
    with serving(store=url) as client:
        assert client.get(f"{session}/tensors").content == before
