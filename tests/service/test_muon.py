"""Sessions of muon: they take only matrices, hold the parameters, and answer a repeated step as it was saved."""

import json

import numpy as np
from httpx2 import Client

from tests.service.calls import SAFETENSORS, create, problem
from tests.wire import package

BINARY = {"content-type": SAFETENSORS}
GRADS = {"w": [[0.5, -0.25, 1.0], [0.0, 2.0, -1.0]]}
WITH_VECTOR = {**GRADS, "b": [1.0, 2.0]}


def test_a_muon_session_steps_replays_and_resumes_from_its_file(client: Client) -> None:
    session = create(client, "muon", hold_params=True)
    body = {"step": 1, "params": {"w": [[1, 2, 3], [4, 5, 6]]}, "grads": GRADS}
    first = client.post(f"{session}/steps", json=body)
    assert first.status_code == 200, first.text
    again = client.post(f"{session}/steps", json=body)
    assert (again.headers["idempotent-replayed"], again.content) == ("true", first.content)
    file = client.get(f"{session}/state").content
    other = client.post("/v1/sessions", content=file, headers=BINARY)
    assert (other.status_code, other.json()["groups"]) == (201, [])
    assert other.json()["digest"] == first.json()["digest"]
    second = [
        client.post(f"{path}/steps", json={"step": 2, "grads": GRADS})
        for path in (session, f"/v1/sessions/{other.json()['id']}")
    ]
    assert second[0].json()["params"] == second[1].json()["params"]
    assert np.asarray(second[0].json()["params"]["w"]).shape == (2, 3)


def test_a_session_made_of_a_file_keeps_the_groups_that_other_rules_have_by_default(client: Client) -> None:
    groups = [{"match": ["*bias"], "weight_decay": 0.0}]
    session = create(client, "muon", hold_params=True, groups=groups)
    other = client.post("/v1/sessions", content=client.get(f"{session}/state").content, headers=BINARY)
    assert (other.status_code, other.json()["groups"]) == (201, groups)
    assert other.json()["digest"] == client.get(session).json()["digest"]


def test_a_step_with_a_vector_is_refused_by_name(client: Client) -> None:
    session = create(client, "muon", hold_params=True)
    answer = client.post(f"{session}/steps", json={"params": WITH_VECTOR, "grads": WITH_VECTOR})
    assert problem(answer, 422, "tensor_mismatch")["tensor"] == "b"
    assert "has the shape [2]; muon updates matrices only" in answer.json()["detail"]


def test_a_put_of_a_vector_is_refused_and_changes_nothing(client: Client) -> None:
    session = create(client, "muon", hold_params=True)
    before = client.get(session).json()
    answer = client.put(f"{session}/params", json={"params": WITH_VECTOR})
    assert problem(answer, 422, "tensor_mismatch")["tensor"] == "b"
    assert "has the shape [2]; muon updates matrices only" in answer.json()["detail"]
    assert client.get(session).json() == before
    assert client.put(f"{session}/params", json={"params": GRADS}).status_code == 204


def test_a_state_file_with_a_vector_is_refused_by_name(client: Client) -> None:
    tensors = {"b": {"shape": [2], "dtype": "float32", "step": 1}}
    document = {"format": 1, "optimizer": "muon", "hold_params": True, "step": 1, "skipped_steps": 0}
    arrays = {f"{slot}/b": np.ones(2, np.float32) for slot in ("m", "params")}
    file = package.save(arrays, {"session": json.dumps({**document, "tensors": tensors})})
    session = create(client, "muon", hold_params=True)
    for answer in (
        client.put(f"{session}/state?digest=none", content=file, headers=BINARY),
        client.post("/v1/sessions", content=file, headers=BINARY),
    ):
        assert problem(answer, 422, "invalid_state")["tensor"] == "b"
        assert "has the shape [2]; muon updates matrices only" in answer.json()["detail"]
